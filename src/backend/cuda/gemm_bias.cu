#include "backend/cuda/gemm_bias.h"

#include <cuda_bf16.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/element_float.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads) add_bias_kernel(const __grid_constant__ AddBiasArguments a) {
  const int64_t col = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (col >= a.cols) return;
  const float bias = a.bias[col];
  for (int64_t row = blockIdx.y; row < a.rows; row += gridDim.y) {
    T& value = static_cast<T*>(a.out)[row * a.stride + col];
    value = from_float<T>(to_float(value) + bias);
  }
}

}  // namespace

void add_bias(cudaStream_t stream, const AddBiasArguments& arguments) {
  const dim3 grid(static_cast<unsigned>((arguments.cols + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min<int64_t>(arguments.rows, 65535)));
  if (arguments.element == Element::bf16) {
    add_bias_kernel<__nv_bfloat16><<<grid, kThreads, 0, stream>>>(arguments);
  } else {
    add_bias_kernel<float><<<grid, kThreads, 0, stream>>>(arguments);
  }
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace bamba::backend::cuda
