// Device code: where a page keeps its numbers.
//
// A page is [keys, values][n_kv_heads][a head's kPageTokens x head_dim numbers]. f32 heads, and bf16 heads whose
// head_dim is no multiple of 64, are plain rows of tokens. Other bf16 heads are slabs of 64 dims, each [64 tokens][64
// dims] = 64 rows of 128 bytes, whose 16-byte chunk c of token t stands at c ^ (t % 8): the tensor cores' "128-byte
// swizzle", so that a plain bulk copy of a slab into shared memory is an operand of wgmma. Rows stay whole lines of
// 128 bytes, so for everyone else a read costs what it would otherwise.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/kv_pages.h"

namespace bamba::backend::cuda {

inline constexpr int kSlabDims = 64;
inline constexpr int kChunkDims = 8;
inline constexpr int kSlabElements = static_cast<int>(kPageTokens) * kSlabDims;

/// Element offsets within a page. PageElement: float or __nv_bfloat16.
template <typename PageElement>
struct PageLayout {
  int n_kv_heads;
  int head_dim;
  bool slabs;

  __host__ __device__ explicit PageLayout(const AttentionShape& shape)
      : n_kv_heads(static_cast<int>(shape.n_kv_heads)),
        head_dim(static_cast<int>(shape.head_dim)),
        slabs(sizeof(PageElement) == 2 && shape.head_dim % kSlabDims == 0) {}

  __host__ __device__ int64_t head_elements() const { return kPageTokens * head_dim; }
  __host__ __device__ int64_t keys(int kv_head) const { return kv_head * head_elements(); }
  __host__ __device__ int64_t values(int kv_head) const { return (n_kv_heads + kv_head) * head_elements(); }
  /// Of dim e of a token, within a head's keys or values. The 8 dims from a multiple of 8 on are neighbours.
  __host__ __device__ int place(int token, int e) const {
    if (!slabs) return token * head_dim + e;
    const int chunk = (e / kChunkDims) % (kSlabDims / kChunkDims);
    return e / kSlabDims * kSlabElements + token * kSlabDims + (chunk ^ (token % 8)) * kChunkDims + e % kChunkDims;
  }
};

template <typename PageElement>
__device__ PageElement* page_elements(float* page) {
  return reinterpret_cast<PageElement*>(page);
}
template <typename PageElement>
__device__ const PageElement* page_elements(const float* page) {
  return reinterpret_cast<const PageElement*>(page);
}

/// Calls body(a value of the page's element type).
template <typename Body>
void with_page_element(KvFormat format, Body body) {
  if (format == KvFormat::f32) {
    body(float());
  } else {
    body(__nv_bfloat16());
  }
}

}  // namespace bamba::backend::cuda
