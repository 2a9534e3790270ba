#include <bamba/sequence_state.h>

#include <algorithm>

#include "base/str.h"
#include "model/sequence_state_impl.h"
#include "model/transpose.h"

namespace bamba {

StateContext::StateContext(std::shared_ptr<backend::Backend> backend_, const BambaConfig& config_, KvFormat kv,
                           uint64_t fingerprint_)
    : backend(std::move(backend_)),
      config(config_),
      fingerprint(fingerprint_),
      conv{config.conv_dim(), config.mamba_d_conv},
      scan{config.mamba_n_heads,
           config.mamba_d_head,
           config.mamba_n_groups,
           config.mamba_d_state,
           config.mamba_chunk_size,
           static_cast<float>(config.time_step_limit[0]),
           static_cast<float>(config.time_step_limit[1])},
      attention{config.num_attention_heads, config.num_key_value_heads, config.head_dim(), config.rotary_dim(), kv} {
  for (const LayerType type : config.layers_block_type()) {
    index_in_kind.push_back(type == LayerType::mamba ? mamba_layers++ : attention_layers++);
  }
}

SequenceState::Impl::Impl(std::shared_ptr<const StateContext> context_, Unfilled /*unused*/)
    : context(std::move(context_)), mamba(context->mamba_layers), attention(context->attention_layers) {}

SequenceState::Impl::Impl(std::shared_ptr<const StateContext> context_) : Impl(std::move(context_), Unfilled()) {
  for (MambaLayer& layer : mamba) {
    layer.window = context->backend->allocate(context->window_bytes());
    layer.ssm = context->backend->allocate(context->ssm_bytes());
  }
}

void SequenceState::Impl::prepare(int64_t tokens) {
  backend::Backend& device = *context->backend;
  const auto make_own = [&](backend::Buffer& buffer) {
    if (!buffer.unique()) buffer = device.clone(buffer);
  };
  for (MambaLayer& layer : mamba) {
    make_own(layer.window);
    make_own(layer.ssm);
  }
  const int64_t page_tokens = device.kv_page_tokens();
  const auto first_written = static_cast<size_t>(length / page_tokens);
  const auto pages_needed = static_cast<size_t>((length + tokens + page_tokens - 1) / page_tokens);
  for (AttentionLayer& layer : attention) {
    for (size_t i = first_written; i < std::min(layer.pages.size(), pages_needed); ++i) {
      make_own(layer.pages[i]);
      layer.page_pointers[i] = layer.pages[i].floats();
    }
    while (layer.pages.size() < pages_needed) {
      layer.pages.push_back(device.allocate(context->page_bytes()));
      layer.page_pointers.push_back(layer.pages.back().floats());
    }
  }
}

void SequenceState::Impl::visit_buffers(FunctionRef<void(const backend::Buffer&)> visit) const {
  for (const MambaLayer& layer : mamba) {
    visit(layer.window);
    visit(layer.ssm);
  }
  for (const AttentionLayer& layer : attention) {
    for (const backend::Buffer& page : layer.pages) visit(page);
  }
}

const SequenceState::Impl::MambaLayer& SequenceState::Impl::mamba_layer(int64_t layer) const {
  if (context->config.layer_type(layer) != LayerType::mamba) {
    fail(ErrorCode::invalid_argument, "layer ", layer, " is an attention layer; it has keys and values only");
  }
  return mamba[context->index_in_kind[static_cast<size_t>(layer)]];
}

const SequenceState::Impl::AttentionLayer& SequenceState::Impl::attention_layer(int64_t layer) const {
  if (context->config.layer_type(layer) != LayerType::attention) {
    fail(ErrorCode::invalid_argument, "layer ", layer, " is a Mamba layer; it has a conv_state and an ssm_state only");
  }
  return attention[context->index_in_kind[static_cast<size_t>(layer)]];
}

SequenceState::SequenceState() = default;
SequenceState::~SequenceState() = default;
SequenceState::SequenceState(SequenceState&&) noexcept = default;
SequenceState& SequenceState::operator=(SequenceState&&) noexcept = default;
SequenceState::SequenceState(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

int64_t SequenceState::length() const {
  return impl_ ? impl_->length : 0;
}

SequenceState SequenceState::fork() const {
  return impl_ ? SequenceState(std::make_unique<Impl>(*impl_)) : SequenceState();
}

void SequenceState::reset() {
  if (impl_) impl_ = std::make_unique<Impl>(impl_->context);
}

size_t SequenceState::bytes() const {
  size_t total = 0;
  if (impl_) impl_->visit_buffers([&](const backend::Buffer& buffer) { total += buffer.bytes(); });
  return total;
}

namespace {

Tensor download(backend::Backend& device, const backend::Buffer& buffer, Shape shape) {
  Tensor out = Tensor::empty(DType::f32, std::move(shape));
  device.download(buffer, 0, out.raw(), out.nbytes());
  return out;
}

const SequenceState::Impl& not_empty(const SequenceState& state) {
  if (!state)
    fail(ErrorCode::invalid_argument, "an empty SequenceState has no tensors; BambaModel::new_state() makes one");
  return state.impl();
}

}  // namespace

Tensor SequenceState::conv_state(int64_t layer) const {
  const Impl& impl = not_empty(*this);
  const StateContext& context = *impl.context;
  const auto [channels, width] = context.conv;
  const Tensor stored = download(*context.backend, impl.mamba_layer(layer).window, {width, channels});
  Tensor out = Tensor::empty(DType::f32, {channels, width});
  transpose(stored.data<float>().data(), width, channels, out.data<float>().data());
  return out;
}

Tensor SequenceState::ssm_state(int64_t layer) const {
  const Impl& impl = not_empty(*this);
  const StateContext& context = *impl.context;
  const auto& scan = context.scan;
  const Tensor stored =
      download(*context.backend, impl.mamba_layer(layer).ssm, {scan.n_heads, scan.d_state, scan.d_head});
  Tensor out = Tensor::empty(DType::f32, {scan.n_heads, scan.d_head, scan.d_state});
  transpose_each(stored.data<float>().data(), scan.n_heads, scan.d_state, scan.d_head, out.data<float>().data());
  return out;
}

std::pair<Tensor, Tensor> keys_and_values(const SequenceState::Impl& state, int64_t layer) {
  const auto& shape = state.context->attention;
  const auto& pages = state.attention_layer(layer).page_pointers;
  Tensor keys = Tensor::empty(DType::f32, {shape.n_kv_heads, state.length, shape.head_dim});
  Tensor values = Tensor::empty(DType::f32, {shape.n_kv_heads, state.length, shape.head_dim});
  state.context->backend->kv_read(pages.data(), state.length, shape, keys.data<float>().data(),
                                  values.data<float>().data());
  return {keys, values};
}

Tensor SequenceState::key(int64_t layer) const {
  return keys_and_values(not_empty(*this), layer).first;
}
Tensor SequenceState::value(int64_t layer) const {
  return keys_and_values(not_empty(*this), layer).second;
}

}  // namespace bamba
