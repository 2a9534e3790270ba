// Random configurations and models for property tests, all from a seed.
#pragma once

#include <bamba/model.h>

#include <algorithm>
#include <random>
#include <vector>

namespace bamba::test {

class Rng {
 public:
  explicit Rng(uint64_t seed) : engine_(seed) {}
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  template <typename T>
  T one_of(const std::vector<T>& values) {
    return values[static_cast<size_t>(between(0, static_cast<int64_t>(values.size()) - 1))];
  }
  std::vector<int64_t> ids(int64_t count, int64_t vocab) {
    std::vector<int64_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(between(0, vocab - 1));
    return out;
  }

 private:
  std::mt19937_64 engine_;
};

/// A small valid config with odd sizes: groups, MQA to MHA, any kernel width, chunk sizes 1 to 256.
inline BambaConfig random_config(Rng& rng) {
  BambaConfig c;
  const int64_t kv_heads = rng.between(1, 3);
  c.num_key_value_heads = kv_heads;
  c.num_attention_heads = kv_heads * rng.between(1, 3);
  c.hidden_size = c.num_attention_heads * rng.one_of<int64_t>({4, 8, 12, 20});
  c.vocab_size = rng.between(30, 90);
  c.intermediate_size = rng.between(5, 70);
  c.num_hidden_layers = rng.between(2, 4);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    if (rng.between(0, 2) == 0) c.attn_layer_indices.push_back(layer);
  }
  c.mamba_expand = rng.between(1, 2);
  const int64_t inner = c.mamba_expand * c.hidden_size;
  std::vector<int64_t> head_counts;
  for (int64_t heads = 1; heads <= 8; ++heads) {
    if (inner % heads == 0) head_counts.push_back(heads);
  }
  c.mamba_n_heads = rng.one_of(head_counts);
  c.mamba_d_head = inner / c.mamba_n_heads;
  c.mamba_n_groups = c.mamba_n_heads % 2 == 0 && rng.between(0, 1) == 0 ? 2 : 1;
  c.mamba_d_state = rng.between(3, 40);
  c.mamba_d_conv = rng.between(1, 5);
  c.mamba_chunk_size = rng.one_of<int64_t>({1, 8, 64, 256});
  c.mamba_conv_bias = rng.between(0, 1) == 0;
  c.mamba_proj_bias = rng.between(0, 1) == 0;
  c.attention_bias = rng.between(0, 1) == 0;
  c.mlp_bias = rng.between(0, 1) == 0;
  c.tie_word_embeddings = rng.between(0, 1) == 0;
  c.initializer_range = 0.3;  // large enough that every part matters in the logits
  c.pad_token_id.reset();
  c.hidden_act = rng.one_of<std::string>({"silu", "gelu", "gelu_new", "relu"});
  if (rng.between(0, 3) == 0) c.time_step_limit = {0.05, 0.9};
  c.validate();
  return c;
}

inline BambaForCausalLM random_model(const BambaConfig& config, uint64_t seed, RunOptions options = {}) {
  InitOptions init;
  init.seed = seed;
  init.dt_bias = DtBiasInit::inverse_softplus;
  return BambaForCausalLM::from_config(config, init, options);
}

}  // namespace bamba::test
