// BambaConfig: every key of a Bamba model's config.json, validated.
#pragma once

#include <bamba/dtype.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bamba {

/// Rotary position embedding: Transformers' rope_parameters (or the older rope_theta + rope_scaling).
struct RopeConfig {
  std::string rope_type = "default";  ///< "default", "linear", "llama3" or "yarn"; others are refused by name
  double rope_theta = 10000.0;
  double factor = 1.0;                           ///< linear, llama3, yarn
  double low_freq_factor = 1.0;                  ///< llama3
  double high_freq_factor = 4.0;                 ///< llama3
  int64_t original_max_position_embeddings = 0;  ///< llama3, yarn; 0: max_position_embeddings
  double beta_fast = 32.0;                       ///< yarn
  double beta_slow = 1.0;                        ///< yarn
  std::optional<double> attention_factor;        ///< yarn; default 0.1 ln(factor) + 1
  std::optional<double> mscale;                  ///< yarn
  std::optional<double> mscale_all_dim;          ///< yarn
  bool truncate = true;                          ///< yarn: round the correction range to whole dimensions

  bool operator==(const RopeConfig&) const = default;
};

enum class LayerType { mamba, attention };

/// Defaults are Transformers' BambaConfig defaults.
struct BambaConfig {
  int64_t vocab_size = 128000;
  bool tie_word_embeddings = false;
  int64_t hidden_size = 4096;
  int64_t intermediate_size = 14336;
  int64_t num_hidden_layers = 32;
  int64_t num_attention_heads = 32;
  int64_t num_key_value_heads = 8;  ///< null in the file: num_attention_heads
  std::string hidden_act = "silu";
  double initializer_range = 0.02;
  double rms_norm_eps = 1e-5;
  bool use_cache = true;
  std::optional<int64_t> num_logits_to_keep = 1;  ///< empty (null): all
  std::optional<int64_t> pad_token_id = 0;
  std::optional<int64_t> bos_token_id = 1;
  std::vector<int64_t> eos_token_id = {2};  ///< the file may hold one id, a list or null
  int64_t max_position_embeddings = 262144;
  double attention_dropout = 0.0;
  std::vector<int64_t> attn_layer_indices;  ///< sorted; null in the file: no attention layer
  int64_t mamba_n_heads = 128;
  int64_t mamba_d_head = 64;  ///< "auto" in the file: mamba_expand * hidden_size / mamba_n_heads
  int64_t mamba_n_groups = 1;
  int64_t mamba_d_state = 256;
  int64_t mamba_d_conv = 4;
  int64_t mamba_expand = 2;
  int64_t mamba_chunk_size = 256;
  bool mamba_conv_bias = true;
  bool mamba_proj_bias = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  double z_loss_coefficient = 0.0;
  double time_step_min = 0.001;
  double time_step_max = 0.1;
  std::array<double, 2> time_step_limit;  ///< {0, +infinity}
  RopeConfig rope;
  std::optional<DType> dtype;  ///< dtype / torch_dtype: f32, f16 or bf16; empty: keep the tensors' own

  BambaConfig();

  // Derived values, the projections' and convolution's by the layout of Mamba-2's layer (Dao, Gu, "Transformers are
  // SSMs", 2024): in_proj yields the gate, then x, B and C, then dt.
  int64_t head_dim() const { return hidden_size / num_attention_heads; }
  int64_t rotary_dim() const { return head_dim() / 2; }  ///< always half a head, whatever the file says
  int64_t mamba_d_inner() const { return mamba_n_heads * mamba_d_head; }
  int64_t conv_dim() const { return mamba_d_inner() + 2 * mamba_n_groups * mamba_d_state; }
  int64_t in_proj_dim() const { return mamba_d_inner() + conv_dim() + mamba_n_heads; }
  /// Throws Error(invalid_argument) for a layer that does not exist.
  LayerType layer_type(int64_t layer) const;
  /// The kinds of all layers, from the first to the last.
  std::vector<LayerType> layers_block_type() const;
  int64_t num_attention_layers() const { return static_cast<int64_t>(attn_layer_indices.size()); }
  /// Number of parameters, by the formula of the model's shapes (a tied head is counted once).
  int64_t parameter_count() const;

  /// Throws Error(invalid_config) that names the key, its value and what is allowed. A config that passes has sizes
  /// whose products fit in int64: every dimension of every tensor is at most 2^31, and parameter_count() < 2^55.
  void validate() const;

  /// Reads the text of a config.json (validated): Transformers 4's keys (torch_dtype, rope_theta, rope_scaling,
  /// attn_rotary_emb) and 5's (dtype, rope_parameters, layer_types). `origin` names it in messages. Throws
  /// Error(invalid_config); warns where the file disagrees with a rule of the model that no key can change.
  static BambaConfig from_json(std::string_view text, const std::string& origin = "config.json");
  /// Reads DIR/config.json, or the file itself when `path` is one. Throws Error(io) when it cannot be read.
  static BambaConfig from_pretrained(const std::filesystem::path& path);
  /// config.json in Transformers 5's layout, unknown keys of the file it was read from kept.
  std::string to_json() const;
  /// The JSON text of an unknown key that came with the file, if it is there.
  std::optional<std::string> extra_key(std::string_view key) const;
  /// Sets an unknown key to a value given as JSON text.
  void set_extra_key(std::string_view key, std::string_view json);
  /// Forgets an unknown key that came with the file, if it is there.
  void drop_extra_key(std::string_view key);

  bool operator==(const BambaConfig&) const = default;

 private:
  std::string extra_keys_ = "{}";  ///< unknown keys as JSON text, in their order, so that they survive a round trip
};

}  // namespace bamba
