// BambaConfig -> config.json, in the layout of Transformers 5.
#include "base/json.h"
#include "model/config_parts.h"

namespace bamba {
namespace {

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// The keys that the rope type uses, and any other that is not at its default: nothing set is lost.
Json rope_to_json(const RopeConfig& rope) {
  const RopeConfig defaults;
  const bool llama3 = rope.rope_type == "llama3";
  const bool yarn = rope.rope_type == "yarn";
  Json out;
  out["rope_type"] = rope.rope_type;
  out["rope_theta"] = rope.rope_theta;
  out["partial_rotary_factor"] = 0.5;
  const auto put = [&](const char* key, const auto& value, const auto& fallback, bool used) {
    if (used || value != fallback) out[key] = value;
  };
  put("factor", rope.factor, defaults.factor, rope.rope_type != "default");
  put("low_freq_factor", rope.low_freq_factor, defaults.low_freq_factor, llama3);
  put("high_freq_factor", rope.high_freq_factor, defaults.high_freq_factor, llama3);
  put("original_max_position_embeddings", rope.original_max_position_embeddings,
      defaults.original_max_position_embeddings, false);
  put("beta_fast", rope.beta_fast, defaults.beta_fast, yarn);
  put("beta_slow", rope.beta_slow, defaults.beta_slow, yarn);
  if (rope.attention_factor) out["attention_factor"] = *rope.attention_factor;
  if (rope.mscale) out["mscale"] = *rope.mscale;
  if (rope.mscale_all_dim) out["mscale_all_dim"] = *rope.mscale_all_dim;
  put("truncate", rope.truncate, defaults.truncate, false);
  return out;
}

Json eos_to_json(const std::vector<int64_t>& ids) {
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? Json(ids[0]) : Json(ids);
}

}  // namespace

std::string BambaConfig::to_json() const {
  Json out;
  out["architectures"] = {"BambaForCausalLM"};
  out["model_type"] = "bamba";
  out["dtype"] = dtype ? Json(dtype_torch_name(*dtype)) : Json(nullptr);
  out["vocab_size"] = vocab_size;
  out["tie_word_embeddings"] = tie_word_embeddings;
  out["hidden_size"] = hidden_size;
  out["intermediate_size"] = intermediate_size;
  out["num_hidden_layers"] = num_hidden_layers;
  out["attn_layer_indices"] = attn_layer_indices.empty() ? Json(nullptr) : Json(attn_layer_indices);
  out["num_attention_heads"] = num_attention_heads;
  out["num_key_value_heads"] = num_key_value_heads;
  out["attention_bias"] = attention_bias;
  out["attention_dropout"] = attention_dropout;
  out["hidden_act"] = hidden_act;
  out["mlp_bias"] = mlp_bias;
  out["rms_norm_eps"] = rms_norm_eps;
  out["initializer_range"] = initializer_range;
  out["max_position_embeddings"] = max_position_embeddings;
  out["partial_rotary_factor"] = 0.5;
  out["rope_parameters"] = rope_to_json(rope);
  out["mamba_n_heads"] = mamba_n_heads;
  out["mamba_d_head"] = mamba_d_head;
  out["mamba_n_groups"] = mamba_n_groups;
  out["mamba_d_state"] = mamba_d_state;
  out["mamba_d_conv"] = mamba_d_conv;
  out["mamba_expand"] = mamba_expand;
  out["mamba_chunk_size"] = mamba_chunk_size;
  out["mamba_conv_bias"] = mamba_conv_bias;
  out["mamba_proj_bias"] = mamba_proj_bias;
  out["time_step_min"] = time_step_min;
  out["time_step_max"] = time_step_max;
  out["time_step_limit"] = Json::array({json_from_number(time_step_limit[0]), json_from_number(time_step_limit[1])});
  out["z_loss_coefficient"] = z_loss_coefficient;
  out["pad_token_id"] = or_null(pad_token_id);
  out["bos_token_id"] = or_null(bos_token_id);
  out["eos_token_id"] = eos_to_json(eos_token_id);
  out["num_logits_to_keep"] = or_null(num_logits_to_keep);
  out["use_cache"] = use_cache;
  // None of these is a key of ours: from_json() keeps what it had no use for.
  const Json extra = parse_json(extra_keys_, "the config's other keys", ErrorCode::internal);
  for (const auto& [key, value] : extra.items()) append_key(out, key, value);
  return out.dump(2) + "\n";
}

std::optional<std::string> BambaConfig::extra_key(std::string_view key) const {
  const Json extra = parse_json(extra_keys_, "the config's other keys", ErrorCode::internal);
  const auto found = extra.find(std::string(key));
  if (found == extra.end()) return {};
  return found->dump();
}

void BambaConfig::set_extra_key(std::string_view key, std::string_view json) {
  Json extra = parse_json(extra_keys_, "the config's other keys", ErrorCode::internal);
  extra.erase(std::string(key));
  append_key(extra, std::string(key), parse_json(json, "a key for the config", ErrorCode::invalid_argument));
  extra_keys_ = extra.dump();
}

void BambaConfig::drop_extra_key(std::string_view key) {
  Json extra = parse_json(extra_keys_, "the config's other keys", ErrorCode::internal);
  extra.erase(std::string(key));
  extra_keys_ = extra.dump();
}

}  // namespace bamba
