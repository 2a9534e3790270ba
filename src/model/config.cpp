#include <bamba/config.h>

#include <algorithm>
#include <limits>

#include "base/str.h"

namespace bamba {

BambaConfig::BambaConfig() : time_step_limit{0.0, std::numeric_limits<double>::infinity()} {}

LayerType BambaConfig::layer_type(int64_t layer) const {
  if (layer < 0 || layer >= num_hidden_layers) {
    fail(ErrorCode::invalid_argument, "layer ", layer, " does not exist; the model has ", num_hidden_layers);
  }
  const bool attention = std::binary_search(attn_layer_indices.begin(), attn_layer_indices.end(), layer);
  return attention ? LayerType::attention : LayerType::mamba;
}

std::vector<LayerType> BambaConfig::layers_block_type() const {
  std::vector<LayerType> types(static_cast<size_t>(num_hidden_layers), LayerType::mamba);
  for (const int64_t layer : attn_layer_indices) types.at(static_cast<size_t>(layer)) = LayerType::attention;
  return types;
}

int64_t BambaConfig::parameter_count() const {
  const int64_t mamba_layer = hidden_size * in_proj_dim() + (mamba_proj_bias ? in_proj_dim() + hidden_size : 0) +
                              conv_dim() * (mamba_d_conv + (mamba_conv_bias ? 1 : 0)) +
                              3 * mamba_n_heads +  // A_log, D, dt_bias
                              mamba_d_inner() +    // gated norm
                              mamba_d_inner() * hidden_size;
  const int64_t kv_width = num_key_value_heads * head_dim();
  const int64_t attention_layer = 2 * hidden_size * hidden_size + 2 * hidden_size * kv_width +
                                  (attention_bias ? 2 * hidden_size + 2 * kv_width : 0);
  const int64_t every_layer =
      3 * hidden_size * intermediate_size + (mlp_bias ? 2 * intermediate_size + hidden_size : 0) + 2 * hidden_size;
  return (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size +
         (num_hidden_layers - num_attention_layers()) * mamba_layer + num_attention_layers() * attention_layer +
         num_hidden_layers * every_layer + hidden_size;
}

}  // namespace bamba
