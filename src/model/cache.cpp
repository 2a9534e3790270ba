#include <bamba/cache.h>
#include <bamba/model.h>

#include <algorithm>

#include "base/str.h"

namespace bamba {
namespace {

/// Stacks equally shaped f32 tensors along a new first axis.
Tensor stack(const std::vector<Tensor>& rows) {
  Shape shape = rows.at(0).shape();
  shape.insert(shape.begin(), static_cast<int64_t>(rows.size()));
  Tensor out = Tensor::empty(DType::f32, std::move(shape));
  auto* target = out.data<float>().data();
  for (const Tensor& row : rows) {
    const auto data = row.data<float>();
    target = std::copy(data.begin(), data.end(), target);
  }
  return out;
}

/// Stacks [heads, length, head_dim] tensors of different lengths, right-aligned.
Tensor stack_right_aligned(const std::vector<Tensor>& rows) {
  int64_t longest = 0;
  for (const Tensor& row : rows) longest = std::max(longest, row.dim(1));
  const int64_t heads = rows.at(0).dim(0);
  const int64_t width = rows.at(0).dim(2);
  Tensor out = Tensor::zeros(DType::f32, {static_cast<int64_t>(rows.size()), heads, longest, width});
  auto* target = out.data<float>().data();
  for (const Tensor& row : rows) {
    const int64_t length = row.dim(1);
    const float* source = row.data<float>().data();
    for (int64_t h = 0; h < heads; ++h) {
      std::copy_n(source + h * length * width, length * width, target + (longest - length) * width);
      target += longest * width;
    }
  }
  return out;
}

}  // namespace

HybridMambaAttentionDynamicCache::HybridMambaAttentionDynamicCache(const BambaModel& model, int64_t batch) {
  if (batch < 0) fail(ErrorCode::invalid_argument, "a cache of ", batch, " rows cannot be made");
  for (int64_t i = 0; i < batch; ++i) rows_.push_back(model.new_state());
}

HybridMambaAttentionDynamicCache::HybridMambaAttentionDynamicCache(std::vector<SequenceState> states)
    : rows_(std::move(states)) {
  for (const SequenceState& state : rows_) padded_length_ = std::max(padded_length_, state.length());
}

SequenceState& HybridMambaAttentionDynamicCache::row(int64_t row) {
  if (row < 0 || row >= batch_size()) {
    fail(ErrorCode::invalid_argument, "row ", row, " does not exist; the cache has ", batch_size());
  }
  return rows_[static_cast<size_t>(row)];
}
const SequenceState& HybridMambaAttentionDynamicCache::row(int64_t row) const {
  return const_cast<HybridMambaAttentionDynamicCache*>(this)->row(row);
}

void HybridMambaAttentionDynamicCache::reorder_cache(std::span<const int64_t> rows) {
  std::vector<SequenceState> reordered;
  reordered.reserve(rows.size());
  for (const int64_t index : rows) reordered.push_back(row(index).fork());
  rows_ = std::move(reordered);
}

HybridMambaAttentionDynamicCache HybridMambaAttentionDynamicCache::fork() const {
  HybridMambaAttentionDynamicCache copy;
  for (const SequenceState& state : rows_) copy.rows_.push_back(state.fork());
  copy.padded_length_ = padded_length_;
  return copy;
}

size_t HybridMambaAttentionDynamicCache::bytes() const {
  size_t total = 0;
  for (const SequenceState& state : rows_) total += state.bytes();
  return total;
}

namespace {

template <typename Get>
std::vector<Tensor> of_rows(const std::vector<SequenceState>& rows, const Get& get) {
  if (rows.empty()) fail(ErrorCode::invalid_argument, "an empty cache has no tensors");
  std::vector<Tensor> tensors;
  tensors.reserve(rows.size());
  for (const SequenceState& state : rows) tensors.push_back(get(state));
  return tensors;
}

}  // namespace

Tensor HybridMambaAttentionDynamicCache::conv_states(int64_t layer) const {
  return stack(of_rows(rows_, [&](const SequenceState& state) { return state.conv_state(layer); }));
}
Tensor HybridMambaAttentionDynamicCache::ssm_states(int64_t layer) const {
  return stack(of_rows(rows_, [&](const SequenceState& state) { return state.ssm_state(layer); }));
}
Tensor HybridMambaAttentionDynamicCache::key_cache(int64_t layer) const {
  return stack_right_aligned(of_rows(rows_, [&](const SequenceState& state) { return state.key(layer); }));
}
Tensor HybridMambaAttentionDynamicCache::value_cache(int64_t layer) const {
  return stack_right_aligned(of_rows(rows_, [&](const SequenceState& state) { return state.value(layer); }));
}

}  // namespace bamba
