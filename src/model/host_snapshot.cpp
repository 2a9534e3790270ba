#include "model/host_snapshot.h"

#include <algorithm>
#include <new>

#include "base/hex.h"
#include "base/str.h"
#include "model/sequence_state_impl.h"

namespace bamba {
namespace {

int64_t pages_for(const StateContext& context, int64_t length) {
  const int64_t page_tokens = context.backend->kv_page_tokens();
  return length / page_tokens + (length % page_tokens == 0 ? 0 : 1);
}

/// The buffers that a snapshot holds: of the pages only those with tokens. An out_of_memory may have left more.
std::vector<backend::Buffer> filled_buffers(const SequenceState::Impl& state) {
  const auto pages = static_cast<size_t>(pages_for(*state.context, state.length));
  std::vector<backend::Buffer> out;
  for (const auto& layer : state.mamba) {
    out.push_back(layer.window);
    out.push_back(layer.ssm);
  }
  for (const auto& layer : state.attention) out.insert(out.end(), layer.pages.begin(), layer.pages.begin() + pages);
  return out;
}

/// Hands out the parts' bytes in order, whatever pieces they come in.
class PartReader {
 public:
  explicit PartReader(std::span<const std::span<const std::byte>> parts) : parts_(parts) {}

  void upload_to(backend::Backend& device, const backend::Buffer& target) {
    for (size_t done = 0; done < target.bytes();) {
      while (at_ == parts_.front().size()) next();
      const size_t count = std::min(target.bytes() - done, parts_.front().size() - at_);
      device.upload(target, done, parts_.front().data() + at_, count);
      done += count;
      at_ += count;
    }
  }

 private:
  void next() {
    parts_ = parts_.subspan(1);
    at_ = 0;
  }
  std::span<const std::span<const std::byte>> parts_;
  size_t at_ = 0;
};

}  // namespace

std::string state_layout(const StateContext& context) {
  const backend::Backend& device = *context.backend;
  return str("1 ", hex(context.fingerprint), ' ', device.name(), ' ', kv_format_name(context.attention.kv), ' ',
             device.kv_page_tokens(), ' ', context.page_bytes());
}

size_t snapshot_bytes(const StateContext& context, int64_t length) {
  return context.mamba_layers * (context.window_bytes() + context.ssm_bytes()) +
         context.attention_layers * static_cast<size_t>(pages_for(context, length)) * context.page_bytes();
}

int64_t HostSnapshot::length() const {
  return impl_ ? impl_->length : 0;
}

size_t HostSnapshot::bytes() const {
  size_t total = 0;
  if (impl_) {
    for (const auto& part : impl_->parts) total += part.size();
  }
  return total;
}

HostSnapshot SequenceState::to_host() const {
  if (!impl_)
    fail(ErrorCode::invalid_argument, "an empty SequenceState has no bytes; BambaModel::new_state() makes one");
  backend::Backend& device = *impl_->context->backend;
  auto out = std::make_shared<HostSnapshot::Impl>();
  out->layout = state_layout(*impl_->context);
  out->length = impl_->length;
  std::vector<backend::Buffer> buffers = filled_buffers(*impl_);
  if (device.buffers_on_host()) {
    for (const backend::Buffer& buffer : buffers) {
      out->parts.emplace_back(reinterpret_cast<const std::byte*>(buffer.floats()), buffer.bytes());
    }
    out->buffers = std::move(buffers);
    return HostSnapshot(std::move(out));
  }
  const size_t bytes = snapshot_bytes(*impl_->context, impl_->length);
  std::shared_ptr<std::byte> memory(new (std::nothrow) std::byte[bytes], std::default_delete<std::byte[]>());
  if (!memory) fail(ErrorCode::out_of_memory, "cannot allocate ", bytes, " bytes for a copy of a sequence state");
  size_t at = 0;
  for (const backend::Buffer& buffer : buffers) {
    device.download(buffer, 0, memory.get() + at, buffer.bytes());
    out->parts.emplace_back(memory.get() + at, buffer.bytes());
    at += buffer.bytes();
  }
  out->memory = std::move(memory);
  return HostSnapshot(std::move(out));
}

SequenceState restore_snapshot(const std::shared_ptr<const StateContext>& context, const HostSnapshot& snapshot) {
  if (!snapshot) fail(ErrorCode::invalid_argument, "an empty HostSnapshot cannot be restored");
  const HostSnapshot::Impl& source = snapshot.impl();
  const std::string layout = state_layout(*context);
  if (source.layout != layout) {
    fail(ErrorCode::invalid_argument, "the snapshot is of another model, device or KvFormat (", quote(source.layout),
         "); this model's are ", quote(layout));
  }
  const size_t bytes = snapshot_bytes(*context, source.length);
  if (snapshot.bytes() != bytes) {
    fail(ErrorCode::invalid_argument, "a snapshot of ", source.length, " tokens has ", snapshot.bytes(),
         " bytes; this model's has ", bytes);
  }
  backend::Backend& device = *context->backend;
  auto impl = std::make_unique<SequenceState::Impl>(context, SequenceState::Impl::Unfilled());
  PartReader reader(source.parts);
  size_t next = 0;
  const auto next_buffer = [&](size_t size) {
    if (!source.buffers.empty()) return source.buffers[next++];
    backend::Buffer buffer = device.allocate(size);
    reader.upload_to(device, buffer);
    return buffer;
  };
  for (auto& layer : impl->mamba) {
    layer.window = next_buffer(context->window_bytes());
    layer.ssm = next_buffer(context->ssm_bytes());
  }
  const auto pages = static_cast<size_t>(pages_for(*context, source.length));
  for (auto& layer : impl->attention) {
    for (size_t i = 0; i < pages; ++i) {
      layer.pages.push_back(next_buffer(context->page_bytes()));
      layer.page_pointers.push_back(layer.pages.back().floats());
    }
  }
  impl->length = source.length;
  return SequenceState(std::move(impl));
}

}  // namespace bamba
