#include "backend/cuda/fp8_rows.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "backend/cuda/check.h"
#include "backend/cuda/element_float.cuh"
#include "backend/cuda/fp8_weight.h"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;

template <typename In>
__global__ void __launch_bounds__(kThreads) fp8_rows_kernel(const __grid_constant__ Fp8RowsArguments a) {
  __shared__ float maxima[kThreads / 32];
  const int64_t row = blockIdx.x;
  const In* in = static_cast<const In*>(a.in) + row * a.in_stride;
  float largest = 0;
  for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) largest = fmaxf(largest, fabsf(to_float(in[c])));
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, distance));
  }
  if (threadIdx.x % 32 == 0) maxima[threadIdx.x / 32] = largest;
  __syncthreads();
#pragma unroll
  for (float other : maxima) largest = fmaxf(largest, other);
  const float scale = largest > 0 ? largest / kE4m3Largest : 1.0f;
  if (threadIdx.x == 0) a.row_scales[row] = scale;
  uint8_t* codes = a.codes + row * a.code_stride;
  // The row comes out of L1 or L2 this time.
  for (int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
    codes[c] = __nv_cvt_float_to_fp8(to_float(in[c]) / scale, __NV_SATFINITE, __NV_E4M3);
  }
}

}  // namespace

void fp8_rows(cudaStream_t stream, const Fp8RowsArguments& arguments) {
  if (arguments.rows == 0) return;
  const auto grid = static_cast<unsigned>(arguments.rows);
  if (arguments.in_element == Element::bf16) {
    fp8_rows_kernel<__nv_bfloat16><<<grid, kThreads, 0, stream>>>(arguments);
  } else {
    fp8_rows_kernel<float><<<grid, kThreads, 0, stream>>>(arguments);
  }
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace bamba::backend::cuda
