#include "model/forward_pass.h"

#include <algorithm>

namespace bamba {

using backend::Activation;
using backend::Backend;
using backend::Matrix;
using backend::ProductInput;

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
    ProductInput normed{work_.matrix(Workspace::normed, rows_, config_.hidden_size)};
    const std::vector<LayerWeights>& layers = weights_.layers;
    if (!layers.empty()) device_.rms_norm(hidden, layers.front().input_norm.floats(), eps_, normed.rows);
    for (size_t i = 0; i < layers.size(); ++i) {
      if (outputs_.hidden) outputs_.hidden(static_cast<int64_t>(i), hidden);
      const LayerWeights& layer = layers[i];
      const NextNorm before_mlp{&layer.pre_ff_norm, layer.mlp.gate_proj.weight.get()};
      normed = layer.mamba ? mamba(*layer.mamba, i, normed, hidden, before_mlp)
                           : attention(*layer.attention, i, normed, hidden, before_mlp);
      normed = mlp(layer.mlp, normed, hidden, i + 1 < layers.size() ? before(layers[i + 1]) : NextNorm());
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

  /// What the products about to be done read, shown to whoever watches them.
  ProductInput shown(const ProductInput& in, std::span<const backend::LinearOp> ops) {
    if (!outputs_.products) return in;
    const Matrix complete = device_.complete(in);
    for (const backend::LinearOp& each : ops) outputs_.products(complete, *each.weight);
    return {complete};
  }

  /// The norm that follows in the model, if one does, and a weight that reads its result.
  struct NextNorm {
    const backend::Buffer* weight = nullptr;
    const backend::LinearWeight* reader = nullptr;
  };
  static NextNorm before(const LayerWeights& layer) {
    return {&layer.input_norm, (layer.mamba ? layer.mamba->in_proj : layer.attention->q_proj).weight.get()};
  }

  /// hidden += layer(in). Returns the result under the norm that follows; without one, nothing.
  ProductInput add(const ProductInput& in, const LinearLayer& layer, Matrix hidden, const NextNorm& next) {
    const backend::LinearOp op{layer.weight.get(), layer.bias_data(), true, hidden};
    const ProductInput source = shown(in, {&op, 1});
    if (next.weight != nullptr) {
      const Matrix normed = work_.matrix(Workspace::normed, rows_, config_.hidden_size);
      return device_.linear_rms_norm(source, op, next.weight->floats(), eps_, normed, next.reader);
    }
    device_.linear_from(source, {&op, 1});
    return {};
  }

  static backend::LinearOp op(const LinearLayer& layer, Matrix out) {
    return {layer.weight.get(), layer.bias_data(), false, out};
  }

  /// hidden += out_proj(norm(scan(conv(in_proj(normed))))); returns next(hidden)
  ProductInput mamba(const MambaWeights& w, size_t layer, const ProductInput& normed, Matrix hidden,
                     const NextNorm& next) {
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
    const Matrix gate = projected.columns(0, inner);                                         // z       [rows, d_inner]
    const Matrix dt = projected.columns(inner + config_.conv_dim(), config_.mamba_n_heads);  // [rows, n_heads]
    // x, B, C [rows, conv_dim] are between them.
    const Matrix xbc = work_.matrix(Workspace::convolved, rows_, config_.conv_dim());
    const Matrix y = work_.matrix(Workspace::mixed, rows_, inner);
    const backend::LinearOp in_proj = op(w.in_proj, projected);
    device_.linear_conv(shown(normed, {&in_proj, 1}), in_proj, inner,
                        {work_.rows, work_.windows, w.conv.floats(), w.conv_bias ? w.conv_bias.floats() : nullptr,
                         shapes.conv, activation_, xbc});
    const ProductInput mixed =
        device_.scan_gated_rms_norm({xbc, dt, work_.rows, work_.states, w.a.floats(), w.d.floats(), w.dt_bias.floats(),
                                     shapes.scan, input_.scan, y},
                                    gate, w.norm.floats(), eps_, w.out_proj.weight.get());
    return add(mixed, w.out_proj, hidden, next);
  }

  /// hidden += o_proj(attention(rotary(q), rotary(k), v)); returns next(hidden)
  ProductInput attention(const AttentionWeights& w, size_t layer, const ProductInput& normed, Matrix hidden,
                         const NextNorm& next) {
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
    device_.linear_from(shown(normed, ops), ops);
    device_.rotate(q, shape.n_heads, shape.head_dim, shape.rotary_dim, work_.rotary.data());
    device_.rotate(k, shape.n_kv_heads, shape.head_dim, shape.rotary_dim, work_.rotary.data());
    device_.kv_append(k, v, work_.rows, work_.pages, shape);
    if (outputs_.queries) outputs_.queries(index, q);
    const Matrix mixed = work_.matrix(Workspace::mixed, rows_, shape.n_heads * shape.head_dim);
    device_.attention(q, work_.rows, work_.pages, shape, mixed);
    return add({mixed}, w.o_proj, hidden, next);
  }

  /// hidden += down(act(gate(normed)) * up(normed)); returns next(hidden)
  ProductInput mlp(const MlpWeights& w, const ProductInput& normed, Matrix hidden, const NextNorm& next) {
    const backend::LinearOp ops[] = {op(w.gate_proj, work_.matrix(Workspace::gate, rows_, config_.intermediate_size)),
                                     op(w.up_proj, work_.matrix(Workspace::up, rows_, config_.intermediate_size))};
    const ProductInput product =
        device_.gated_linear(shown(normed, ops), ops[0], ops[1], activation_, w.down_proj.weight.get());
    return add(product, w.down_proj, hidden, next);
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
