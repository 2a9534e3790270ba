#include "backend/cuda/skinny_plain.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/quantized_element.cuh"
#include "backend/cuda/warp_sum.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = 4;  // of a warp
constexpr int kOutputsOfBlock = kThreads / 32 * kOutputs;
constexpr int kManyRows = 8;

__device__ void store(const SkinnyArguments& a, int64_t row, int64_t output, float value) {
  if (a.bias != nullptr) value += a.bias[output];
  const int64_t at = row * a.out_stride + output;
  if (a.out_element == Element::bf16) {
    auto* out = static_cast<__nv_bfloat16*>(a.out) + at;
    *out = __float2bfloat16_rn(a.accumulate ? value + __bfloat162float(*out) : value);
  } else {
    auto* out = static_cast<float*>(a.out) + at;
    *out = a.accumulate ? value + *out : value;
  }
}

template <WeightKind kKind, typename In, int kRows, bool kVector>
__global__ void __launch_bounds__(kThreads) skinny_plain_kernel(const __grid_constant__ SkinnyArguments a) {
  const DeviceWeight& w = a.weight;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t output0 = int64_t{blockIdx.x} * kOutputsOfBlock + threadIdx.x / 32 * kOutputs;
  if (output0 >= w.out) return;
  for (int64_t row0 = int64_t{blockIdx.y} * kRows; row0 < a.rows; row0 += int64_t{gridDim.y} * kRows) {
    float sums[kOutputs][kRows] = {};
    // Outputs and rows past the last repeat it: their sums are not stored.
#pragma unroll(kRows == 1 ? 4 : 1)
    for (int64_t k = lane * 4; k < w.in; k += 128) {
      float weights[kOutputs][4];
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        load_weights<kKind, kVector>(w, min(output0 + o, w.out - 1), k, weights[o]);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float x[4];
        load_four<kVector>(static_cast<const In*>(a.in) + min(row0 + r, a.rows - 1) * a.in_stride + k, w.in - k, x);
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
          for (int j = 0; j < 4; ++j) sums[o][r] = fmaf(weights[o][j], x[j], sums[o][r]);
        }
      }
    }
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float sum = warp_sum(sums[o][r]);
        if (lane == 0 && output0 + o < w.out && row0 + r < a.rows) {
          store(a, row0 + r, output0 + o, __fmul_rn(sum, row_scale<kKind>(w, output0 + o)));
        }
      }
    }
  }
}

template <WeightKind kKind, typename In, bool kVector>
void launch(cudaStream_t stream, const SkinnyArguments& a) {
  const int64_t rows_at_once = a.rows == 1 ? 1 : kManyRows;
  const dim3 grid(static_cast<unsigned>((a.weight.out + kOutputsOfBlock - 1) / kOutputsOfBlock),
                  static_cast<unsigned>(std::min<int64_t>((a.rows + rows_at_once - 1) / rows_at_once, 65535)));
  if (a.rows == 1) {
    skinny_plain_kernel<kKind, In, 1, kVector><<<grid, kThreads, 0, stream>>>(a);
  } else {
    skinny_plain_kernel<kKind, In, kManyRows, kVector><<<grid, kThreads, 0, stream>>>(a);
  }
}

}  // namespace

void skinny_plain(cudaStream_t stream, const SkinnyArguments& a) {
  const bool bf16 = a.in_element == Element::bf16;
  const bool vector =
      has_vectors(a.weight) && reinterpret_cast<uintptr_t>(a.in) % (bf16 ? 8 : 16) == 0 && a.in_stride % 4 == 0;
  with_kind(a.weight.kind, [&]<WeightKind kKind>() {
    const auto with_vector = bf16 ? (vector ? launch<kKind, __nv_bfloat16, true> : launch<kKind, __nv_bfloat16, false>)
                                  : (vector ? launch<kKind, float, true> : launch<kKind, float, false>);
    with_vector(stream, a);
  });
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace bamba::backend::cuda
