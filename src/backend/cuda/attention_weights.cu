// The softmax's weights, written out.
#include "backend/cuda/attention.h"
#include "backend/cuda/check.h"
#include "backend/cuda/elementwise_pack.cuh"
#include "backend/cuda/kv_pages_layout.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;

/// Combines one number of every thread, by a tree that is always the same; all threads get the result.
template <typename Combine>
__device__ float over_block(float value, float (&scratch)[kThreads], Combine combine) {
  __syncthreads();
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) scratch[threadIdx.x] = combine(scratch[threadIdx.x], scratch[threadIdx.x + half]);
    __syncthreads();
  }
  return scratch[0];
}

/// A block: one token and head. Scores go to their places first, then become weights there.
template <typename Element, typename PageElement>
__global__ __launch_bounds__(kThreads) void weights_kernel(AttentionWeightsArguments<Element> a) {
  extern __shared__ float query[];
  __shared__ float scratch[kThreads];
  const PageLayout<PageElement> layout(a.shape);
  const int64_t token = blockIdx.x;
  const int head = static_cast<int>(blockIdx.y);
  const int kv_head = head / static_cast<int>(a.shape.n_heads / a.shape.n_kv_heads);
  const Element* source = a.queries + (a.sequence.first + token) * a.query_stride + int64_t{head} * layout.head_dim;
  for (int e = static_cast<int>(threadIdx.x); e < layout.head_dim; e += kThreads) query[e] = to_float(source[e]);
  __syncthreads();

  float* weights = a.weights + head * a.head_stride + token * a.row_stride;
  const int64_t seen = a.sequence.start + token + 1;
  const float scale = 1.0f / sqrtf(static_cast<float>(layout.head_dim));
  float best = -INFINITY;
  for (int64_t t = threadIdx.x; t < seen; t += kThreads) {
    const PageElement* keys = page_elements<PageElement>(a.pages[t / kPageTokens]) + layout.keys(kv_head);
    float score = 0;
    for (int e = 0; e < layout.head_dim; ++e) {
      score = fmaf(query[e], to_float(keys[layout.place(static_cast<int>(t % kPageTokens), e)]), score);
    }
    weights[t] = score * scale;
    best = fmaxf(best, score * scale);
  }
  best = over_block(best, scratch, [](float x, float y) { return fmaxf(x, y); });
  float total = 0;
  for (int64_t t = threadIdx.x; t < seen; t += kThreads) {
    weights[t] = expf(weights[t] - best);
    total += weights[t];
  }
  total = over_block(total, scratch, [](float x, float y) { return x + y; });
  for (int64_t t = threadIdx.x; t < a.sequence.start + a.sequence.count; t += kThreads) {
    weights[t] = t < seen ? weights[t] / total : 0.0f;
  }
}

}  // namespace

template <typename Element>
void attention_weights(cudaStream_t stream, const AttentionWeightsArguments<Element>& a) {
  if (a.sequence.count == 0) return;
  const dim3 grid(static_cast<unsigned>(a.sequence.count), static_cast<unsigned>(a.shape.n_heads));
  const size_t bytes = static_cast<size_t>(a.shape.head_dim) * sizeof(float);
  with_page_element(a.shape.kv, [&]<typename PageElement>(PageElement) {
    weights_kernel<Element, PageElement><<<grid, kThreads, bytes, stream>>>(a);
  });
  BAMBA_CUDA_CHECK_LAUNCH();
}

template void attention_weights(cudaStream_t, const AttentionWeightsArguments<float>&);
template void attention_weights(cudaStream_t, const AttentionWeightsArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
