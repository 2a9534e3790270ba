// Keys and values on the device, in pages of kPageTokens tokens; one page holds both, of all KV heads of one layer.
//
// Pages are opaque (kv_pages_layout.cuh says what is where); a sequence's page table is a device array of pointers to
// its pages, in the order of its tokens. Pages are aligned to 16 bytes. What lies behind a sequence's last token in
// its last page is never looked at.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"

namespace bamba::backend::cuda {

/// 64: a prompt's tile of 128 keys is two pages, a decoding warp takes one.
inline constexpr int64_t kPageTokens = 64;

/// Bytes of one page: keys and values of all KV heads.
inline size_t kv_page_bytes(const AttentionShape& shape) {
  const size_t element = shape.kv == KvFormat::f32 ? sizeof(float) : sizeof(uint16_t);
  return 2 * element * static_cast<size_t>(shape.n_kv_heads * kPageTokens * shape.head_dim);
}

/// The sequences of a pass. All arrays are on the device.
struct PagedSequences {
  const SequenceRows* sequences;  ///< rows [first, first + count) are tokens [start, start + count)
  float* const* const* pages;     ///< per sequence its page table, which covers tokens [0, start + count)
};

/// Copies between the pages of one sequence and device buffers [n_kv_heads, tokens, head_dim] in f32, for saving and
/// restoring: kv_read is exact, kv_write rounds to the pages' format as kv_append does.
struct KvCopyArguments {
  float* const* pages;  ///< device array
  int64_t tokens;
  AttentionShape shape;
};
void kv_read(cudaStream_t stream, const KvCopyArguments& arguments, float* keys, float* values);
void kv_write(cudaStream_t stream, const KvCopyArguments& arguments, const float* keys, const float* values);

}  // namespace bamba::backend::cuda
