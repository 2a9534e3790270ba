// The tensors of a Bamba checkpoint: names, shapes and what each of them is, derived from the config alone.
#pragma once

#include <bamba/config.h>
#include <bamba/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace bamba {

enum class TensorRole {
  embedding,    ///< [vocab_size, hidden_size]
  linear,       ///< [out, in], lm_head among them
  linear_bias,  ///< [out]
  norm,         ///< a norm's weight
  conv_weight,  ///< [conv_dim, 1, d_conv]
  conv_bias,    ///< [conv_dim]
  dt_bias,      ///< [n_heads]
  a_log,        ///< [n_heads]
  d,            ///< [n_heads]
};

struct TensorSpec {
  std::string name;
  Shape shape;
  TensorRole role;

  /// Held as a LinearWeight in the weight format; all other tensors are small and stay f32.
  bool is_matrix() const { return role == TensorRole::embedding || role == TensorRole::linear; }
};

inline constexpr const char* kEmbeddingName = "model.embed_tokens.weight";
inline constexpr const char* kFinalNormName = "model.final_layernorm.weight";
inline constexpr const char* kHeadName = "lm_head.weight";

/// "model.layers.LAYER."
std::string layer_prefix(int64_t layer);

/// All tensors in the order of the model; a tied model has no lm_head.weight.
std::vector<TensorSpec> tensor_specs(const BambaConfig& config);

}  // namespace bamba
