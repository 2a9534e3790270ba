#include "model/tensor_specs.h"

#include <utility>

#include "base/str.h"

namespace bamba {
namespace {

class Lister {
 public:
  void add(std::string name, Shape shape, TensorRole role) {
    specs_.push_back({std::move(name), std::move(shape), role});
  }
  void linear(const std::string& module, int64_t out, int64_t in, bool bias) {
    add(module + ".weight", {out, in}, TensorRole::linear);
    if (bias) add(module + ".bias", {out}, TensorRole::linear_bias);
  }
  std::vector<TensorSpec> take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

void add_mamba(Lister& list, const std::string& prefix, const BambaConfig& c) {
  list.linear(prefix + "in_proj", c.in_proj_dim(), c.hidden_size, c.mamba_proj_bias);
  list.add(prefix + "conv1d.weight", {c.conv_dim(), 1, c.mamba_d_conv}, TensorRole::conv_weight);
  if (c.mamba_conv_bias) list.add(prefix + "conv1d.bias", {c.conv_dim()}, TensorRole::conv_bias);
  list.add(prefix + "dt_bias", {c.mamba_n_heads}, TensorRole::dt_bias);
  list.add(prefix + "A_log", {c.mamba_n_heads}, TensorRole::a_log);
  list.add(prefix + "D", {c.mamba_n_heads}, TensorRole::d);
  list.add(prefix + "norm.weight", {c.mamba_d_inner()}, TensorRole::norm);
  list.linear(prefix + "out_proj", c.hidden_size, c.mamba_d_inner(), c.mamba_proj_bias);
}

void add_attention(Lister& list, const std::string& prefix, const BambaConfig& c) {
  const int64_t kv_width = c.num_key_value_heads * c.head_dim();
  list.linear(prefix + "q_proj", c.num_attention_heads * c.head_dim(), c.hidden_size, c.attention_bias);
  list.linear(prefix + "k_proj", kv_width, c.hidden_size, c.attention_bias);
  list.linear(prefix + "v_proj", kv_width, c.hidden_size, c.attention_bias);
  list.linear(prefix + "o_proj", c.hidden_size, c.num_attention_heads * c.head_dim(), c.attention_bias);
}

}  // namespace

std::string layer_prefix(int64_t layer) {
  return str("model.layers.", layer, '.');
}

std::vector<TensorSpec> tensor_specs(const BambaConfig& c) {
  Lister list;
  list.add(kEmbeddingName, {c.vocab_size, c.hidden_size}, TensorRole::embedding);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const std::string prefix = layer_prefix(layer);
    list.add(prefix + "input_layernorm.weight", {c.hidden_size}, TensorRole::norm);
    if (c.layer_type(layer) == LayerType::mamba) {
      add_mamba(list, prefix + "mamba.", c);
    } else {
      add_attention(list, prefix + "self_attn.", c);
    }
    list.add(prefix + "pre_ff_layernorm.weight", {c.hidden_size}, TensorRole::norm);
    list.linear(prefix + "feed_forward.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    list.linear(prefix + "feed_forward.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    list.linear(prefix + "feed_forward.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
  }
  list.add(kFinalNormName, {c.hidden_size}, TensorRole::norm);
  if (!c.tie_word_embeddings) list.add(kHeadName, {c.vocab_size, c.hidden_size}, TensorRole::linear);
  return list.take();
}

}  // namespace bamba
