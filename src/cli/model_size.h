// Sizes that follow from a config alone.
#pragma once

#include <bamba/config.h>
#include <bamba/kv_format.h>

#include <cstdint>

namespace bamba::cli {

struct StateSize {
  int64_t fixed_bytes;      ///< convolution windows and SSM states of one sequence, f32
  int64_t bytes_per_token;  ///< keys and values of all attention layers
};

inline StateSize state_size(const BambaConfig& config, KvFormat kv) {
  constexpr int64_t kFloat = 4;
  const int64_t kv_bytes = kv == KvFormat::bf16 ? 2 : kFloat;
  const int64_t attention = config.num_attention_layers();
  const int64_t mamba = config.num_hidden_layers - attention;
  const int64_t layer = config.conv_dim() * config.mamba_d_conv + config.mamba_d_inner() * config.mamba_d_state;
  return {mamba * layer * kFloat, attention * 2 * config.num_key_value_heads * config.head_dim() * kv_bytes};
}

}  // namespace bamba::cli
