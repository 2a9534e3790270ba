// config.json -> BambaConfig, in the layouts of Transformers 4 and 5.
#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <system_error>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/warning.h"
#include "model/config_parts.h"

namespace bamba {
namespace {

/// Real files have a few thousand bytes. Key look-up in an ordered object is linear, so the bound also bounds time.
constexpr uint64_t kMaxConfigBytes = uint64_t{256} << 10;

/// A value as messages show it: its JSON text, shortened.
std::string shown(const Json& value) {
  constexpr size_t kLongest = 60;
  // Whole documents may hide in one value, so containers are named rather than written out.
  if (value.is_object()) return "an object";
  if (value.is_array() && value.size() > 8) return str("a list of ", value.size());
  std::string text = value.dump();
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // not inside a UTF-8 character
  return text.substr(0, end) + "...";
}

/// Takes typed values out of one JSON object and remembers which keys were asked for.
class ObjectReader {
 public:
  ObjectReader(const Json& object, const std::string& origin, std::string prefix = "")
      : object_(object), origin_(origin), prefix_(std::move(prefix)) {}

  template <typename... Rule>
  [[noreturn]] void reject(std::string_view key, const Json& value, const Rule&... rule) const {
    fail(ErrorCode::invalid_config, origin_, ": ", prefix_, key, " is ", shown(value), "; ", rule...);
  }

  /// The value, or null when the key is missing.
  const Json* find(std::string_view key) {
    used_.emplace(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  int64_t integer(std::string_view key, const Json& value) const {
    if (!value.is_number_integer()) reject(key, value, "it must be an integer");
    if (value.is_number_unsigned() &&
        value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      reject(key, value, "it must fit in 63 bits");
    }
    return value.get<int64_t>();
  }

  void read(std::string_view key, int64_t& out) {
    if (const Json* value = find(key)) out = integer(key, *value);
  }
  void read(std::string_view key, bool& out) {
    if (const Json* value = find(key)) {
      if (!value->is_boolean()) reject(key, *value, "it must be true or false");
      out = value->get<bool>();
    }
  }
  void read(std::string_view key, double& out) {
    if (const Json* value = find(key)) out = number(key, *value);
  }
  void read(std::string_view key, std::string& out) {
    if (const Json* value = find(key)) {
      if (!value->is_string()) reject(key, *value, "it must be a string");
      out = value->get<std::string>();
    }
  }
  /// Null empties the value; a missing key leaves it.
  void read(std::string_view key, std::optional<int64_t>& out) {
    if (const Json* value = find(key)) {
      out.reset();
      if (!value->is_null()) out = integer(key, *value);
    }
  }
  void read(std::string_view key, std::optional<double>& out) {
    if (const Json* value = find(key)) {
      out.reset();
      if (!value->is_null()) out = number(key, *value);
    }
  }

  double number(std::string_view key, const Json& value) const {
    if (!is_json_number(value)) reject(key, value, "it must be a number");
    return json_number(value);
  }

  std::vector<int64_t> integers(std::string_view key, const Json& value) const {
    std::vector<int64_t> out;
    for (const Json& item : value) out.push_back(integer(key, item));
    return out;
  }

  /// Reads the key without a use for it: it has no effect on a model.
  void ignore(std::string_view key) { used_.emplace(key); }

  /// The keys nobody asked for, in the file's order.
  Json rest() const {
    Json out = Json::object();
    for (const auto& [key, value] : object_.items()) {
      if (!used_.contains(key)) append_key(out, key, value);
    }
    return out;
  }

 private:
  const Json& object_;
  const std::string& origin_;
  std::string prefix_;
  std::set<std::string, std::less<>> used_;
};

void read_sizes(ObjectReader& in, BambaConfig& c) {
  in.read("vocab_size", c.vocab_size);
  in.read("tie_word_embeddings", c.tie_word_embeddings);
  in.read("hidden_size", c.hidden_size);
  in.read("intermediate_size", c.intermediate_size);
  in.read("num_hidden_layers", c.num_hidden_layers);
  in.read("num_attention_heads", c.num_attention_heads);
  std::optional<int64_t> kv_heads = c.num_key_value_heads;
  in.read("num_key_value_heads", kv_heads);
  c.num_key_value_heads = kv_heads.value_or(c.num_attention_heads);
  in.read("hidden_act", c.hidden_act);
  in.read("initializer_range", c.initializer_range);
  in.read("rms_norm_eps", c.rms_norm_eps);
  in.read("use_cache", c.use_cache);
  in.read("num_logits_to_keep", c.num_logits_to_keep);
  in.read("max_position_embeddings", c.max_position_embeddings);
  in.read("attention_dropout", c.attention_dropout);
  in.read("attention_bias", c.attention_bias);
  in.read("mlp_bias", c.mlp_bias);
  in.read("z_loss_coefficient", c.z_loss_coefficient);
}

void read_token_ids(ObjectReader& in, BambaConfig& c) {
  in.read("pad_token_id", c.pad_token_id);
  in.read("bos_token_id", c.bos_token_id);
  if (const Json* eos = in.find("eos_token_id")) {
    c.eos_token_id.clear();
    if (eos->is_array()) {
      c.eos_token_id = in.integers("eos_token_id", *eos);
    } else if (!eos->is_null()) {
      c.eos_token_id = {in.integer("eos_token_id", *eos)};
    }
  }
}

void read_mamba(ObjectReader& in, BambaConfig& c, const std::string& origin) {
  in.read("mamba_n_heads", c.mamba_n_heads);
  in.read("mamba_n_groups", c.mamba_n_groups);
  in.read("mamba_d_state", c.mamba_d_state);
  in.read("mamba_d_conv", c.mamba_d_conv);
  in.read("mamba_expand", c.mamba_expand);
  in.read("mamba_chunk_size", c.mamba_chunk_size);
  in.read("mamba_conv_bias", c.mamba_conv_bias);
  in.read("mamba_proj_bias", c.mamba_proj_bias);
  in.read("time_step_min", c.time_step_min);
  in.read("time_step_max", c.time_step_max);
  if (const Json* limit = in.find("time_step_limit")) {
    if (!limit->is_array() || limit->size() != 2) {
      in.reject("time_step_limit", *limit, "it must be a list of two numbers");
    }
    for (size_t i = 0; i < 2; ++i) c.time_step_limit[i] = in.number("time_step_limit", (*limit)[i]);
  }

  const Json* d_head = in.find("mamba_d_head");
  if (d_head != nullptr && *d_head != "auto") {
    if (!d_head->is_number_integer()) in.reject("mamba_d_head", *d_head, "it must be an integer or \"auto\"");
    c.mamba_d_head = in.integer("mamba_d_head", *d_head);
    return;
  }
  // "auto" divides, so it looks at its factors before validate() does; a division that leaves a rest is found there.
  const auto usable = [](int64_t value) { return value >= 1 && value <= kMaxDimension; };
  for (const auto& [key, value] : {std::pair{"mamba_expand", c.mamba_expand}, std::pair{"hidden_size", c.hidden_size},
                                   std::pair{"mamba_n_heads", c.mamba_n_heads}}) {
    if (!usable(value)) {
      fail(ErrorCode::invalid_config, origin, ": ", key, " is ", value, "; it must be between 1 and ", kMaxDimension);
    }
  }
  c.mamba_d_head = c.mamba_expand * c.hidden_size / c.mamba_n_heads;
}

/// attn_layer_indices, and the lists that name every layer's kind; whatever is given must agree.
void read_layers(ObjectReader& in, BambaConfig& c) {
  const Json* indices = in.find("attn_layer_indices");
  const bool given = indices != nullptr && !indices->is_null();
  if (given) {
    if (!indices->is_array()) in.reject("attn_layer_indices", *indices, "it must be a list of integers or null");
    c.attn_layer_indices = in.integers("attn_layer_indices", *indices);
    std::sort(c.attn_layer_indices.begin(), c.attn_layer_indices.end());
  }
  bool known = given;
  for (const std::string_view key : {"layers_block_type", "layer_types"}) {
    const Json* list = in.find(key);
    if (list == nullptr || list->is_null()) continue;
    if (!list->is_array()) in.reject(key, *list, "it must be a list of layer kinds");
    if (static_cast<int64_t>(list->size()) != c.num_hidden_layers) {
      in.reject(key, *list, "it must have one entry for each of num_hidden_layers = ", c.num_hidden_layers);
    }
    std::vector<int64_t> attention;
    for (size_t i = 0; i < list->size(); ++i) {
      const Json& kind = (*list)[i];
      if (kind == "attention" || kind == "full_attention") {
        attention.push_back(static_cast<int64_t>(i));
      } else if (kind != "mamba" && kind != "linear_attention") {
        in.reject(str(key, '[', i, ']'), kind,
                  "it must be \"attention\" (or \"full_attention\") or \"mamba\" (or \"linear_attention\")");
      }
    }
    if (known && attention != c.attn_layer_indices) {
      in.reject(key, *list, "it puts attention at layers ", list_str<int64_t>(attention),
                ", but attn_layer_indices (or the other list) at ", list_str<int64_t>(c.attn_layer_indices));
    }
    c.attn_layer_indices = std::move(attention);
    known = true;
  }
}

constexpr double kRotaryFactor = 0.5;

void check_rotary_factor(ObjectReader& in, const std::string& origin, const std::string& prefix) {
  const Json* value = in.find("partial_rotary_factor");
  if (value == nullptr || value->is_null()) return;
  const double factor = in.number("partial_rotary_factor", *value);
  if (factor != kRotaryFactor) {
    warn(origin, ": ", prefix, "partial_rotary_factor is ", factor, "; a Bamba model always rotates ", kRotaryFactor,
         " of each head, so it is not used");
  }
}

/// The values of rope_parameters (or rope_scaling, its older name).
void read_rope_object(const Json& object, const std::string& name, const std::string& origin, RopeConfig& rope) {
  if (!object.is_object()) {
    fail(ErrorCode::invalid_config, origin, ": ", name, " is ", shown(object), "; it must be an object or null");
  }
  const std::string prefix = name + ".";
  ObjectReader in(object, origin, prefix);
  in.read("type", rope.rope_type);
  in.read("rope_type", rope.rope_type);
  in.read("rope_theta", rope.rope_theta);
  const bool has_factor = in.find("factor") != nullptr;
  in.read("factor", rope.factor);
  in.read("low_freq_factor", rope.low_freq_factor);
  in.read("high_freq_factor", rope.high_freq_factor);
  std::optional<int64_t> original;
  in.read("original_max_position_embeddings", original);
  rope.original_max_position_embeddings = original.value_or(0);
  std::optional<double> beta_fast;
  std::optional<double> beta_slow;
  in.read("beta_fast", beta_fast);
  in.read("beta_slow", beta_slow);
  rope.beta_fast = beta_fast.value_or(rope.beta_fast);
  rope.beta_slow = beta_slow.value_or(rope.beta_slow);
  in.read("attention_factor", rope.attention_factor);
  in.read("mscale", rope.mscale);
  in.read("mscale_all_dim", rope.mscale_all_dim);
  in.read("truncate", rope.truncate);
  check_rotary_factor(in, origin, prefix);

  const bool scales = rope.rope_type == "linear" || rope.rope_type == "llama3" || rope.rope_type == "yarn";
  if (scales && !has_factor) {
    fail(ErrorCode::invalid_config, origin, ": ", prefix, "factor is missing; rope type \"", rope.rope_type,
         "\" needs it");
  }
  const Json unknown = in.rest();
  for (const auto& [key, value] : unknown.items()) {
    warn(origin, ": ", prefix, printable(key), " is not used by rope type \"", rope.rope_type, "\"");
  }
}

void read_rope(ObjectReader& in, BambaConfig& c, const std::string& origin) {
  in.read("rope_theta", c.rope.rope_theta);
  check_rotary_factor(in, origin, "");
  const Json* scaling = in.find("rope_scaling");
  const Json* parameters = in.find("rope_parameters");
  if (parameters != nullptr && !parameters->is_null()) {
    read_rope_object(*parameters, "rope_parameters", origin, c.rope);
    if (scaling != nullptr && !scaling->is_null()) warn(origin, ": rope_scaling is not used beside rope_parameters");
  } else if (scaling != nullptr && !scaling->is_null()) {
    read_rope_object(*scaling, "rope_scaling", origin, c.rope);
  }
}

void read_dtype(ObjectReader& in, BambaConfig& c) {
  for (const std::string_view key : {"torch_dtype", "dtype"}) {  // the newer name has the last word
    const Json* value = in.find(key);
    if (value == nullptr || value->is_null() || *value == "auto") continue;
    const auto dtype = value->is_string() ? dtype_from_torch_name(value->get_ref<const std::string&>()) : std::nullopt;
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
      in.reject(key, *value, "it must be \"float32\", \"float16\", \"bfloat16\" or null");
    }
    c.dtype = dtype;
  }
}

}  // namespace

BambaConfig BambaConfig::from_json(std::string_view text, const std::string& origin) {
  if (text.size() > kMaxConfigBytes) {
    fail(ErrorCode::invalid_config, origin, " has ", text.size(), " bytes; at most ", kMaxConfigBytes, " are accepted");
  }
  const Json document = parse_json(text, origin, ErrorCode::invalid_config);
  if (!document.is_object()) {
    fail(ErrorCode::invalid_config, origin, ": the file holds ", shown(document), "; it must be a JSON object");
  }
  ObjectReader in(document, origin);
  const Json* model_type = in.find("model_type");
  if (model_type != nullptr && *model_type != "bamba") {
    in.reject("model_type", *model_type, "only \"bamba\" models can be read");
  }
  BambaConfig c;
  read_sizes(in, c);
  read_token_ids(in, c);
  read_mamba(in, c, origin);
  read_layers(in, c);
  read_rope(in, c, origin);
  read_dtype(in, c);
  std::optional<int64_t> rotary_emb;
  in.read("attn_rotary_emb", rotary_emb);
  for (const std::string_view key :
       {"architectures", "mamba_dt_rank", "use_mamba_kernels", "_name_or_path", "transformers_version"}) {
    in.ignore(key);
  }
  check_config(c, origin);
  if (rotary_emb && *rotary_emb != c.rotary_dim()) {
    warn(origin, ": attn_rotary_emb is ", *rotary_emb, "; a Bamba model always rotates half of each head (",
         c.rotary_dim(), " dimensions here), so it is not used");
  }
  c.extra_keys_ = in.rest().dump();
  return c;
}

BambaConfig BambaConfig::from_pretrained(const std::filesystem::path& path) {
  std::error_code ignored;  // what is wrong with the path is said when it is opened
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
  return from_json(read_file(file, kMaxConfigBytes), file.string());
}

}  // namespace bamba
