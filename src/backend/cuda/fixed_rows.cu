#include "backend/cuda/fixed_rows.h"

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/scan_elements.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;

__global__ __launch_bounds__(kThreads) void fixed_to_bf16_kernel(const FixedToBf16Arguments args) {
  let_next_begin();
  wait_for_previous();
  extern __shared__ __nv_bfloat16 row[];
  const int64_t r = blockIdx.x;
  const int8_t* high = args.rows.high + r * args.rows.stride;
  const int8_t* low = args.rows.low + r * args.rows.stride;
  const float* scales = args.rows.scales + r * args.rows.scale_stride;
  for (int64_t k = threadIdx.x; k < args.cols; k += kThreads) {
    row[k] = __float2bfloat16_rn(static_cast<float>(high[k] * 256 + low[k]) * scales[k / kFixedGroup]);
  }
  // All is read before any is overwritten.
  __syncthreads();
  for (int64_t k = threadIdx.x; k < args.cols; k += kThreads) args.out[r * args.out_stride + k] = row[k];
}

}  // namespace

void fixed_to_bf16(cudaStream_t stream, const FixedToBf16Arguments& args) {
  if (args.n_rows == 0 || args.cols == 0) return;
  launch_early(stream, fixed_to_bf16_kernel, static_cast<unsigned>(args.n_rows), kThreads,
               static_cast<size_t>(args.cols) * sizeof(__nv_bfloat16), args);
}

}  // namespace bamba::backend::cuda
