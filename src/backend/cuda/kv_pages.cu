#include "backend/cuda/kv_pages.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/elementwise_pack.cuh"
#include "backend/cuda/kv_pages_layout.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;

/// copy(index into the f32 buffers, key's place, value's place) for every number of the sequence.
template <typename PageElement, typename Copy>
__device__ void for_each_number(const KvCopyArguments& a, Copy copy) {
  const PageLayout<PageElement> layout(a.shape);
  const int64_t total = a.shape.n_kv_heads * a.tokens * layout.head_dim;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < total; i += int64_t{gridDim.x} * kThreads) {
    const int e = static_cast<int>(i % layout.head_dim);
    const int64_t token = i / layout.head_dim % a.tokens;
    const int kv_head = static_cast<int>(i / layout.head_dim / a.tokens);
    PageElement* page = page_elements<PageElement>(a.pages[token / kPageTokens]);
    const int place = layout.place(static_cast<int>(token % kPageTokens), e);
    copy(i, page + layout.keys(kv_head) + place, page + layout.values(kv_head) + place);
  }
}

template <typename PageElement>
__global__ __launch_bounds__(kThreads) void read_kernel(KvCopyArguments a, float* keys, float* values) {
  for_each_number<PageElement>(a, [&](int64_t i, const PageElement* key, const PageElement* value) {
    keys[i] = to_float(*key);
    values[i] = to_float(*value);
  });
}

template <typename PageElement>
__global__ __launch_bounds__(kThreads) void write_kernel(KvCopyArguments a, const float* keys, const float* values) {
  for_each_number<PageElement>(a, [&](int64_t i, PageElement* key, PageElement* value) {
    *key = from_float<PageElement>(keys[i]);
    *value = from_float<PageElement>(values[i]);
  });
}

unsigned blocks_of(const KvCopyArguments& a) {
  const int64_t total = a.shape.n_kv_heads * a.tokens * a.shape.head_dim;
  return static_cast<unsigned>(std::min<int64_t>((total + kThreads - 1) / kThreads, 4096));
}

}  // namespace

void kv_read(cudaStream_t stream, const KvCopyArguments& a, float* keys, float* values) {
  if (a.tokens == 0) return;
  with_page_element(a.shape.kv, [&]<typename PageElement>(PageElement) {
    read_kernel<PageElement><<<blocks_of(a), kThreads, 0, stream>>>(a, keys, values);
  });
  BAMBA_CUDA_CHECK_LAUNCH();
}

void kv_write(cudaStream_t stream, const KvCopyArguments& a, const float* keys, const float* values) {
  if (a.tokens == 0) return;
  with_page_element(a.shape.kv, [&]<typename PageElement>(PageElement) {
    write_kernel<PageElement><<<blocks_of(a), kThreads, 0, stream>>>(a, keys, values);
  });
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace bamba::backend::cuda
