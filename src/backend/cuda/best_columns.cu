#include "backend/cuda/best_columns.h"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/sampling_block.cuh"

namespace bamba::backend::cuda {
namespace {

/// A value and its column as one integer, the larger the better: of equal values the lower column.
__device__ uint64_t candidate(float value, int64_t column) {
  return static_cast<uint64_t>(score_key(value)) << 32 | (0xFFFFFFFFU - static_cast<uint32_t>(column));
}

/// A block per row.
__global__ __launch_bounds__(kSamplingThreads) void best_kernel(BestColumnsArguments a) {
  let_next_begin();
  wait_for_previous();
  __shared__ uint64_t scratch[kSamplingWarps];
  __shared__ uint32_t broken_scratch[kSamplingWarps];
  const float* row = a.in + blockIdx.x * a.stride;
  uint64_t best = 0;
  auto broken = static_cast<uint32_t>(a.cols);  // the first column that is not finite
  const auto look = [&](float value, int64_t column) {
    if (!isfinite(value)) broken = min(broken, static_cast<uint32_t>(column));
    best = max(best, candidate(value, column));
  };
  const bool vectors = reinterpret_cast<uintptr_t>(row) % 16 == 0;
  const int64_t whole = vectors ? a.cols / 4 : 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < whole; i += kSamplingThreads) {
    const float4 four = reinterpret_cast<const float4*>(row)[i];
    look(four.x, 4 * i);
    look(four.y, 4 * i + 1);
    look(four.z, 4 * i + 2);
    look(four.w, 4 * i + 3);
  }
  for (int64_t i = 4 * whole + threadIdx.x; i < a.cols; i += kSamplingThreads) look(row[i], i);
  best = over_block(best, scratch, [](uint64_t x, uint64_t y) { return max(x, y); });
  broken = over_block(broken, broken_scratch, [](uint32_t x, uint32_t y) { return min(x, y); });
  if (threadIdx.x == 0) {
    a.columns[blockIdx.x] = broken == static_cast<uint32_t>(a.cols)
                                ? static_cast<int32_t>(0xFFFFFFFFU - static_cast<uint32_t>(best & 0xFFFFFFFFU))
                                : -1 - static_cast<int32_t>(broken);
  }
}

}  // namespace

void best_columns(cudaStream_t stream, const BestColumnsArguments& arguments) {
  if (arguments.rows == 0) return;
  launch_early(stream, best_kernel, static_cast<unsigned>(arguments.rows), kSamplingThreads, 0, arguments);
}

}  // namespace bamba::backend::cuda
