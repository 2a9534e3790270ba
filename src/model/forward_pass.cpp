#include "model/forward_pass.h"

#include <algorithm>

namespace bamba {

using backend::Activation;
using backend::Backend;
using backend::Matrix;

Matrix Workspace::matrix(Slot slot, int64_t row_count, int64_t cols) {
  const bool wide = slot == hidden || slot == logits;
  const backend::Element element = wide ? backend::Element::f32 : device_.intermediate_element();
  const size_t bytes = static_cast<size_t>(row_count * cols) * (element == backend::Element::f32 ? 4 : 2);
  if (buffers_[slot].bytes() < bytes) {
    buffers_[slot] = {};  // before the new one is taken
    buffers_[slot] = device_.allocate(bytes);
  }
  return {buffers_[slot].floats(), row_count, cols, cols, element};
}

namespace {

Activation activation_of(const std::string& name) {
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  return Activation::silu;  // "silu", "swish": config validation knows no other
}

class Pass {
 public:
  Pass(const BambaConfig& config, const ModelWeights& weights, Backend& device, Workspace& workspace,
       const PassInput& input, const PassOutputs& outputs)
      : config_(config),
        weights_(weights),
        device_(device),
        work_(workspace),
        input_(input),
        outputs_(outputs),
        rows_(static_cast<int64_t>(input.positions.size())),
        eps_(static_cast<float>(config.rms_norm_eps)),
        activation_(activation_of(config.hidden_act)) {}

  Matrix run(const Rope& rope) {
    work_.rows.clear();
    for (const PassSequence& sequence : input_.sequences) work_.rows.push_back(sequence.rows);
    if (config_.num_attention_layers() > 0) {
      work_.rotary.resize(static_cast<size_t>(rows_ * config_.rotary_dim()));
      rope.fill(input_.positions, work_.rotary.data());
    }
    const Matrix hidden = embed();
    const Matrix normed = work_.matrix(Workspace::normed, rows_, config_.hidden_size);
    for (size_t i = 0; i < weights_.layers.size(); ++i) {
      if (outputs_.hidden) outputs_.hidden(static_cast<int64_t>(i), hidden);
      const LayerWeights& layer = weights_.layers[i];
      device_.rms_norm(hidden, layer.input_norm.floats(), eps_, normed);
      if (layer.mamba) {
        mamba(*layer.mamba, i, normed, hidden);
      } else {
        attention(*layer.attention, i, normed, hidden);
      }
      device_.rms_norm(hidden, layer.pre_ff_norm.floats(), eps_, normed);
      mlp(layer.mlp, normed, hidden);
    }
    for (const PassSequence& sequence : input_.sequences) sequence.state->length += sequence.rows.count;
    return hidden;
  }

 private:
  /// [rows, hidden]
  Matrix embed() {
    const Matrix hidden = work_.matrix(Workspace::hidden, rows_, config_.hidden_size);
    // Runs of ids and runs of given embeddings alternate; almost always there is one run.
    for (int64_t first = 0; first < rows_;) {
      const bool given = input_.ids[static_cast<size_t>(first)] < 0;
      int64_t end = first;
      while (end < rows_ && (input_.ids[static_cast<size_t>(end)] < 0) == given) ++end;
      const Matrix target = hidden.below(first, end - first);
      if (given) {
        device_.upload_rows(input_.embeds + first * hidden.cols, hidden.cols, target);
      } else {
        device_.embed(input_.ids.subspan(static_cast<size_t>(first), static_cast<size_t>(end - first)),
                      *weights_.embedding, target);
      }
      first = end;
    }
    return hidden;
  }

  void linear(Matrix in, const LinearLayer& layer, bool accumulate, Matrix out) {
    const backend::LinearOp ops[] = {{layer.weight.get(), layer.bias_data(), accumulate, out}};
    linear(in, ops);
  }

  void linear(Matrix in, std::span<const backend::LinearOp> ops) {
    if (outputs_.products) {
      for (const backend::LinearOp& each : ops) outputs_.products(in, *each.weight);
    }
    device_.linear(in, ops);
  }

  static backend::LinearOp op(const LinearLayer& layer, Matrix out) {
    return {layer.weight.get(), layer.bias_data(), false, out};
  }

  /// hidden += out_proj(norm(scan(conv(in_proj(normed)))))
  void mamba(const MambaWeights& w, size_t layer, Matrix normed, Matrix hidden) {
    const int64_t inner = config_.mamba_d_inner();
    const StateContext& shapes = *input_.sequences.front().state->context;
    const size_t index = shapes.index_in_kind[layer];
    work_.windows.clear();
    work_.states.clear();
    for (const PassSequence& sequence : input_.sequences) {
      work_.windows.push_back(sequence.state->mamba[index].window.floats());
      work_.states.push_back(sequence.state->mamba[index].ssm.floats());
    }
    const Matrix projected = work_.matrix(Workspace::projected, rows_, config_.in_proj_dim());
    linear(normed, w.in_proj, false, projected);
    const Matrix gate = projected.columns(0, inner);                                         // z       [rows, d_inner]
    const Matrix xbc_in = projected.columns(inner, config_.conv_dim());                      // x, B, C [rows, conv_dim]
    const Matrix dt = projected.columns(inner + config_.conv_dim(), config_.mamba_n_heads);  // [rows, n_heads]
    const Matrix xbc = work_.matrix(Workspace::convolved, rows_, config_.conv_dim());
    device_.causal_conv(xbc_in, work_.rows, work_.windows, w.conv.floats(),
                        w.conv_bias ? w.conv_bias.floats() : nullptr, shapes.conv, activation_, xbc);
    const Matrix y = work_.matrix(Workspace::mixed, rows_, inner);
    device_.selective_scan(xbc, dt, work_.rows, work_.states, w.a.floats(), w.d.floats(), w.dt_bias.floats(),
                           shapes.scan, input_.scan, y);
    device_.gated_rms_norm(y, gate, w.norm.floats(), eps_, 1);
    linear(y, w.out_proj, true, hidden);
  }

  /// hidden += o_proj(attention(rotary(q), rotary(k), v))
  void attention(const AttentionWeights& w, size_t layer, Matrix normed, Matrix hidden) {
    const StateContext& shapes = *input_.sequences.front().state->context;
    const backend::AttentionShape& shape = shapes.attention;
    const size_t index = shapes.index_in_kind[layer];
    work_.pages.clear();
    for (const PassSequence& sequence : input_.sequences) {
      work_.pages.push_back(sequence.state->attention[index].page_pointers.data());
    }
    const Matrix q = work_.matrix(Workspace::projected, rows_, shape.n_heads * shape.head_dim);
    const Matrix k = work_.matrix(Workspace::keys, rows_, shape.n_kv_heads * shape.head_dim);
    const Matrix v = work_.matrix(Workspace::values, rows_, shape.n_kv_heads * shape.head_dim);
    const backend::LinearOp ops[] = {op(w.q_proj, q), op(w.k_proj, k), op(w.v_proj, v)};
    linear(normed, ops);
    device_.rotate(q, shape.n_heads, shape.head_dim, shape.rotary_dim, work_.rotary.data());
    device_.rotate(k, shape.n_kv_heads, shape.head_dim, shape.rotary_dim, work_.rotary.data());
    device_.kv_append(k, v, work_.rows, work_.pages, shape);
    if (outputs_.queries) outputs_.queries(index, q);
    const Matrix mixed = work_.matrix(Workspace::mixed, rows_, shape.n_heads * shape.head_dim);
    device_.attention(q, work_.rows, work_.pages, shape, mixed);
    linear(mixed, w.o_proj, true, hidden);
  }

  /// hidden += down(act(gate(normed)) * up(normed))
  void mlp(const MlpWeights& w, Matrix normed, Matrix hidden) {
    const Matrix gate = work_.matrix(Workspace::gate, rows_, config_.intermediate_size);
    const Matrix up = work_.matrix(Workspace::up, rows_, config_.intermediate_size);
    const backend::LinearOp ops[] = {op(w.gate_proj, gate), op(w.up_proj, up)};
    linear(normed, ops);
    device_.gated_activation(gate, up, activation_);
    linear(gate, w.down_proj, true, hidden);
  }

  const BambaConfig& config_;
  const ModelWeights& weights_;
  Backend& device_;
  Workspace& work_;
  const PassInput& input_;
  const PassOutputs& outputs_;
  int64_t rows_;
  float eps_;
  Activation activation_;
};

}  // namespace

Matrix run_layers(const BambaConfig& config, const ModelWeights& weights, const Rope& rope, Backend& device,
                  Workspace& workspace, const PassInput& input, const PassOutputs& outputs) {
  return Pass(config, weights, device, workspace, input, outputs).run(rope);
}

}  // namespace bamba
