#include "backend/cuda/quantized_rows.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/quantized_element.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kInputs = 8;  // of a thread: 16 bytes of bf16

template <bool kVector>
__device__ void store_eight(float* out, const float (&values)[kInputs], int64_t count) {
  if (kVector && count >= kInputs) {
    auto* target = reinterpret_cast<float4*>(out);
    target[0] = make_float4(values[0], values[1], values[2], values[3]);
    target[1] = make_float4(values[4], values[5], values[6], values[7]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    if (i < count) out[i] = values[i];
  }
}
template <bool kVector>
__device__ void store_eight(__nv_bfloat16* out, const float (&values)[kInputs], int64_t count) {
  if (kVector && count >= kInputs) {
    __nv_bfloat162 pairs[kInputs / 2];
#pragma unroll
    for (int i = 0; i < kInputs / 2; ++i) pairs[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
    *reinterpret_cast<uint4*>(out) = *reinterpret_cast<const uint4*>(pairs);
    return;
  }
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    if (i < count) out[i] = __float2bfloat16_rn(values[i]);
  }
}

template <WeightKind kKind, typename Out, bool kVector>
__global__ void __launch_bounds__(kThreads) weight_rows_kernel(const __grid_constant__ WeightRowsArguments a) {
  let_next_begin();  // not launched early itself: first in its pass
  const int64_t k = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kInputs;
  if (k >= a.weight.in) return;
  for (int64_t i = blockIdx.y; i < a.rows; i += gridDim.y) {
    const int64_t o = a.ids != nullptr ? a.ids[i] : a.first + i;
    const float scale = row_scale<kKind>(a.weight, o);
    float values[kInputs];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float four[4] = {};
      // The codes of the second half may lie past the row's end.
      if (k + 4 * half < a.weight.in) load_weights<kKind, kVector>(a.weight, o, k + 4 * half, four);
#pragma unroll
      for (int j = 0; j < 4; ++j) values[4 * half + j] = four[j] * scale;
    }
    store_eight<kVector>(static_cast<Out*>(a.out) + i * a.out_stride + k, values, a.weight.in - k);
  }
}

}  // namespace

void weight_rows(cudaStream_t stream, const WeightRowsArguments& arguments) {
  if (arguments.rows == 0 || arguments.weight.in == 0) return;
  const bool bf16 = arguments.out_element == Element::bf16;
  const bool vector = has_vectors(arguments.weight) && reinterpret_cast<uintptr_t>(arguments.out) % 16 == 0 &&
                      arguments.out_stride % (bf16 ? 8 : 4) == 0;
  constexpr int64_t kSpan = int64_t{kThreads} * kInputs;
  const dim3 grid(static_cast<unsigned>((arguments.weight.in + kSpan - 1) / kSpan),
                  static_cast<unsigned>(std::min<int64_t>(arguments.rows, 65535)));
  with_kind(arguments.weight.kind, [&]<WeightKind kKind>() {
    const auto kernel =
        bf16 ? (vector ? weight_rows_kernel<kKind, __nv_bfloat16, true>
                       : weight_rows_kernel<kKind, __nv_bfloat16, false>)
             : (vector ? weight_rows_kernel<kKind, float, true> : weight_rows_kernel<kKind, float, false>);
    kernel<<<grid, kThreads, 0, stream>>>(arguments);
  });
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace bamba::backend::cuda
