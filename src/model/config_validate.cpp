// The rules a config must keep, each with a message that names the key, its value and what is allowed.
#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "model/config_parts.h"

namespace bamba {
namespace {

/// Reports on one config; every message starts with where it came from.
class Checker {
 public:
  Checker(const BambaConfig& config, const std::string& origin) : c_(config), origin_(origin) {}

  void check() const {
    check_sizes();
    check_layers();
    check_mamba();
    check_attention();
    check_products();
    check_tokens();
    check_numbers();
    check_rope();
    check_names();
  }

 private:
  template <typename Value, typename... Rule>
  [[noreturn]] void reject(std::string_view key, const Value& value, const Rule&... rule) const {
    fail(ErrorCode::invalid_config, origin_, ": ", key, " is ", value, "; ", rule...);
  }

  void check_range(std::string_view key, int64_t value, int64_t low, int64_t high) const {
    if (value < low || value > high) reject(key, value, "it must be between ", low, " and ", high);
  }

  void check_sizes() const {
    check_range("vocab_size", c_.vocab_size, 1, kMaxDimension);
    check_range("hidden_size", c_.hidden_size, 1, kMaxDimension);
    check_range("intermediate_size", c_.intermediate_size, 1, kMaxDimension);
    check_range("num_hidden_layers", c_.num_hidden_layers, 1, kMaxLayers);
    check_range("num_attention_heads", c_.num_attention_heads, 1, kMaxDimension);
    check_range("num_key_value_heads", c_.num_key_value_heads, 1, kMaxDimension);
    check_range("max_position_embeddings", c_.max_position_embeddings, 1, kMaxDimension);
    check_range("mamba_n_heads", c_.mamba_n_heads, 1, kMaxDimension);
    check_range("mamba_d_head", c_.mamba_d_head, 1, kMaxDimension);
    check_range("mamba_n_groups", c_.mamba_n_groups, 1, kMaxDimension);
    check_range("mamba_d_state", c_.mamba_d_state, 1, kMaxDimension);
    check_range("mamba_d_conv", c_.mamba_d_conv, 1, kMaxDimension);
    check_range("mamba_expand", c_.mamba_expand, 1, kMaxDimension);
    check_range("mamba_chunk_size", c_.mamba_chunk_size, 1, kMaxDimension);
    if (c_.num_logits_to_keep) check_range("num_logits_to_keep", *c_.num_logits_to_keep, 0, kMaxDimension);
  }

  void check_layers() const {
    int64_t previous = -1;
    for (const int64_t layer : c_.attn_layer_indices) {
      const std::string list = list_str<int64_t>(c_.attn_layer_indices);
      if (layer < 0 || layer >= c_.num_hidden_layers) {
        reject("attn_layer_indices", list, "every index must be between 0 and ", c_.num_hidden_layers - 1,
               " (num_hidden_layers is ", c_.num_hidden_layers, ")");
      }
      if (layer <= previous) reject("attn_layer_indices", list, "the indices must be distinct and rising");
      previous = layer;
    }
  }

  void check_mamba() const {
    const int64_t inner = c_.mamba_expand * c_.hidden_size;  // both at most 2^31
    if (inner % c_.mamba_n_heads != 0) {
      reject("mamba_n_heads", c_.mamba_n_heads, "mamba_expand * hidden_size = ", inner, " must be divisible by it");
    }
    if (c_.mamba_d_head != inner / c_.mamba_n_heads) {
      reject("mamba_d_head", c_.mamba_d_head, "mamba_expand * hidden_size / mamba_n_heads = ", inner / c_.mamba_n_heads,
             " is the only value (or \"auto\") that fits");
    }
    if (c_.mamba_n_heads % c_.mamba_n_groups != 0) {
      reject("mamba_n_groups", c_.mamba_n_groups, "mamba_n_heads = ", c_.mamba_n_heads, " must be divisible by it");
    }
  }

  void check_attention() const {
    if (c_.hidden_size % c_.num_attention_heads != 0) {
      reject("num_attention_heads", c_.num_attention_heads, "hidden_size = ", c_.hidden_size,
             " must be divisible by it");
    }
    if (c_.num_attention_heads % c_.num_key_value_heads != 0) {
      reject("num_key_value_heads", c_.num_key_value_heads, "num_attention_heads = ", c_.num_attention_heads,
             " must be divisible by it");
    }
    // Half of a head is rotated, in pairs.
    if (c_.num_attention_layers() > 0 && c_.head_dim() % 4 != 0) {
      reject("num_attention_heads", c_.num_attention_heads, "hidden_size / num_attention_heads = ", c_.head_dim(),
             " must be divisible by 4, as half of a head's dimensions are rotated in pairs");
    }
  }

  /// After the single sizes: the widths and the count of parameters that they make together.
  void check_products() const {
    const int64_t inner = c_.mamba_n_heads * c_.mamba_d_head;  // = mamba_expand * hidden_size, at most 2^62
    if (inner > kMaxDimension) {
      reject("mamba_expand", c_.mamba_expand, "mamba_expand * hidden_size = ", inner, " must be at most ",
             kMaxDimension);
    }
    const int64_t state_width = c_.mamba_n_groups * c_.mamba_d_state;
    if (state_width > kMaxDimension || c_.in_proj_dim() > kMaxDimension) {
      reject("mamba_d_state", c_.mamba_d_state,
             "the mixer's projection, 2 * mamba_expand * hidden_size + 2 * mamba_n_groups * mamba_d_state + "
             "mamba_n_heads, must be at most ",
             kMaxDimension, " wide");
    }
    // In floating point, as the exact sum may not fit in 64 bits: one part in 2^50 does not matter here.
    const auto h = static_cast<double>(c_.hidden_size);
    const double mamba = h * static_cast<double>(c_.in_proj_dim() + inner) +
                         static_cast<double>(c_.conv_dim()) * static_cast<double>(c_.mamba_d_conv + 1);
    const double layer = mamba + 4 * h * h + 3 * h * static_cast<double>(c_.intermediate_size);
    const double total = 2 * h * static_cast<double>(c_.vocab_size) + static_cast<double>(c_.num_hidden_layers) * layer;
    if (total > 0x1p54) reject("hidden_size", c_.hidden_size, "the model would have more than 2^54 parameters");
  }

  void check_tokens() const {
    if (c_.pad_token_id) check_range("pad_token_id", *c_.pad_token_id, 0, c_.vocab_size - 1);
    if (c_.bos_token_id) check_range("bos_token_id", *c_.bos_token_id, 0, c_.vocab_size - 1);
    for (const int64_t id : c_.eos_token_id) check_range("eos_token_id", id, 0, c_.vocab_size - 1);
  }

  void check_non_negative(std::string_view key, double value) const {
    if (!(value >= 0) || !std::isfinite(value)) reject(key, value, "it must be finite and at least 0");
  }
  void check_positive(std::string_view key, double value) const {
    if (!(value > 0) || !std::isfinite(value)) reject(key, value, "it must be finite and above 0");
  }

  void check_numbers() const {
    check_non_negative("initializer_range", c_.initializer_range);
    check_non_negative("rms_norm_eps", c_.rms_norm_eps);
    check_non_negative("z_loss_coefficient", c_.z_loss_coefficient);
    if (!(c_.attention_dropout >= 0 && c_.attention_dropout < 1)) {
      reject("attention_dropout", c_.attention_dropout, "it must be at least 0 and below 1");
    }
    check_positive("time_step_min", c_.time_step_min);
    check_positive("time_step_max", c_.time_step_max);
    if (c_.time_step_min > c_.time_step_max) {
      reject("time_step_min", c_.time_step_min, "it must not be above time_step_max = ", c_.time_step_max);
    }
    const auto [low, high] = c_.time_step_limit;
    if (!(low >= 0 && std::isfinite(low) && high >= low)) {
      reject("time_step_limit", str('[', low, ", ", high, ']'), "it must be [low, high] with 0 <= low <= high");
    }
  }

  void check_rope() const {
    const RopeConfig& rope = c_.rope;
    if (std::find(kRopeTypes.begin(), kRopeTypes.end(), rope.rope_type) == kRopeTypes.end()) {
      reject("rope_type", '"' + rope.rope_type + '"', "supported are ", joined(kRopeTypes));
    }
    check_positive("rope_theta", rope.rope_theta);
    check_positive("rope factor", rope.factor);
    check_positive("rope low_freq_factor", rope.low_freq_factor);
    check_positive("rope high_freq_factor", rope.high_freq_factor);
    check_range("rope original_max_position_embeddings", rope.original_max_position_embeddings, 0, kMaxDimension);
    check_positive("rope beta_fast", rope.beta_fast);
    check_positive("rope beta_slow", rope.beta_slow);
    if (rope.attention_factor) check_positive("rope attention_factor", *rope.attention_factor);
    if (rope.mscale) check_non_negative("rope mscale", *rope.mscale);
    if (rope.mscale_all_dim) check_non_negative("rope mscale_all_dim", *rope.mscale_all_dim);
    if (rope.rope_type == "llama3" && rope.high_freq_factor <= rope.low_freq_factor) {
      reject("rope high_freq_factor", rope.high_freq_factor,
             "it must be above low_freq_factor = ", rope.low_freq_factor);
    }
    if (rope.rope_type == "yarn") {
      if (rope.beta_fast < rope.beta_slow) {
        reject("rope beta_fast", rope.beta_fast, "it must not be below beta_slow = ", rope.beta_slow);
      }
      // The correction range divides by ln(theta).
      if (rope.rope_theta <= 1) reject("rope_theta", rope.rope_theta, "it must be above 1 for yarn");
    }
  }

  void check_names() const {
    if (std::find(kActivations.begin(), kActivations.end(), c_.hidden_act) == kActivations.end()) {
      reject("hidden_act", '"' + c_.hidden_act + '"', "supported are ", joined(kActivations));
    }
    if (c_.dtype && *c_.dtype != DType::f32 && *c_.dtype != DType::f16 && *c_.dtype != DType::bf16) {
      reject("dtype", dtype_torch_name(*c_.dtype), "supported are float32, float16, bfloat16");
    }
  }

  template <size_t N>
  static std::string joined(const std::array<std::string_view, N>& names) {
    std::string out;
    for (const auto name : names) out.append(out.empty() ? "" : ", ").append(name);
    return out;
  }

  const BambaConfig& c_;
  const std::string& origin_;
};

}  // namespace

void check_config(const BambaConfig& config, const std::string& origin) {
  Checker(config, origin).check();
}

void BambaConfig::validate() const {
  check_config(*this, "config");
}

}  // namespace bamba
