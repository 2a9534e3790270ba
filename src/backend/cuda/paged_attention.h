// The backend's operations on paged keys and values.
#pragma once

#include <span>
#include <vector>

#include "backend/cuda/attention.h"
#include "backend/cuda/operation_lists.h"

namespace bamba::backend::cuda {

/// Takes the calls of the Backend interface, which says what they do.
class PagedAttention {
 public:
  PagedAttention(CudaContext& context, bool bit_exact) : context_(context), lists_(context), bit_exact_(bit_exact) {}

  void kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                 std::span<float* const* const> pages, AttentionShape shape);
  void kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values);
  void kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys, const float* values);
  void attention(Matrix queries, std::span<const SequenceRows> sequences, std::span<float* const* const> pages,
                 AttentionShape shape, Matrix out);
  void attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape, float* host,
                         int64_t head_stride, int64_t row_stride);

 private:
  float* const* stage_table(float* const* pages, int64_t tokens);
  /// The sequences and their page tables. Each table has room for as many pages as its length may grow to before a
  /// graph is captured anew, so that what is staged after it stays at its place while a sequence grows.
  PagedSequences stage_paged(std::span<const SequenceRows> sequences, std::span<float* const* const> pages);
  template <typename T>
  void by_spans(AttentionArguments<T> arguments);

  CudaContext& context_;
  OperationLists lists_;
  bool bit_exact_;

  // Host-side lists, kept for their memory.
  std::vector<int32_t> row_sequence_;
  std::vector<SequenceRows> long_;
  std::vector<float* const*> long_pages_;
  std::vector<SequenceRows> short_;
  std::vector<float* const*> short_pages_;
  std::vector<float*> table_;
  std::vector<float* const*> tables_;
  std::vector<float> host_weights_;
};

}  // namespace bamba::backend::cuda
