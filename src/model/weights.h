// A model's weights as the backend holds them.
#pragma once

#include <bamba/config.h>
#include <bamba/progress.h>
#include <bamba/weight_format.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/tensor_specs.h"
#include "model/weight_tensor.h"

namespace bamba {

/// The type of tensors that a format holds without loss and without waste; for fp8, q8 and q4 the type that models are
/// trained and published in.
DType storage_type(WeightFormat format);

struct LinearLayer {
  std::unique_ptr<backend::LinearWeight> weight;  ///< [out, in]
  backend::Buffer bias;                           ///< [out], or empty

  const float* bias_data() const { return bias ? bias.floats() : nullptr; }
};

struct MambaWeights {
  LinearLayer in_proj;        ///< [in_proj_dim, hidden]
  backend::Buffer conv;       ///< [d_conv, conv_dim]: taps first, the transpose of the checkpoint's
  backend::Buffer conv_bias;  ///< [conv_dim], or empty
  backend::Buffer a;          ///< [n_heads], -exp(A_log)
  backend::Buffer d;          ///< [n_heads]
  backend::Buffer dt_bias;    ///< [n_heads]
  backend::Buffer norm;       ///< [d_inner]
  LinearLayer out_proj;       ///< [hidden, d_inner]
};

struct AttentionWeights {
  LinearLayer q_proj;  ///< [heads * head_dim, hidden]
  LinearLayer k_proj;  ///< [kv_heads * head_dim, hidden]
  LinearLayer v_proj;  ///< [kv_heads * head_dim, hidden]
  LinearLayer o_proj;  ///< [hidden, heads * head_dim]
};

struct MlpWeights {
  LinearLayer gate_proj;  ///< [intermediate, hidden]
  LinearLayer up_proj;    ///< [intermediate, hidden]
  LinearLayer down_proj;  ///< [hidden, intermediate]
};

/// One of mamba and attention is set.
struct LayerWeights {
  backend::Buffer input_norm;  ///< [hidden]
  std::unique_ptr<MambaWeights> mamba;
  std::unique_ptr<AttentionWeights> attention;
  backend::Buffer pre_ff_norm;  ///< [hidden]
  MlpWeights mlp;
};

struct ModelWeights {
  std::unique_ptr<backend::LinearWeight> embedding;  ///< [vocab, hidden]
  std::unique_ptr<backend::LinearWeight> lm_head;    ///< [vocab, hidden]; empty when tied
  std::vector<LayerWeights> layers;
  backend::Buffer final_norm;  ///< [hidden]

  /// The tensors that are not matrices, as the checkpoint has them, in f32: for saving, and to tell models apart.
  std::map<std::string, Tensor> vectors;
  /// The packed matrices above, by checkpoint name.
  std::map<std::string, const backend::LinearWeight*> matrices;

  const backend::LinearWeight& head() const { return lm_head ? *lm_head : *embedding; }
  size_t bytes() const;
};

/// Packs all weights that are not packed yet. At most one unpacked tensor of the source is held at a time.
ModelWeights build_weights(const BambaConfig& config, WeightFormat format, backend::Backend& backend,
                           const TensorSource& source);

}  // namespace bamba
