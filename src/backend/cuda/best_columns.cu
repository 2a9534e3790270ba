#include "backend/cuda/best_columns.h"

#include <algorithm>

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/sampling_block.cuh"

namespace bamba::backend::cuda {
namespace {

/// A value and its column as one integer, the larger the better: of equal values the lower column. Whatever is not
/// finite is larger than all that are: of such the lowest column.
__device__ unsigned long long candidate(float value, int64_t column) {
  const uint32_t key = isfinite(value) ? score_key(value) : 0xFFFFFFFFU;
  return static_cast<unsigned long long>(key) << 32 | (0xFFFFFFFFU - static_cast<uint32_t>(column));
}
__device__ int32_t column_of(unsigned long long best) {
  const auto column = static_cast<int32_t>(0xFFFFFFFFU - static_cast<uint32_t>(best & 0xFFFFFFFFU));
  return best >> 32 == 0xFFFFFFFFU ? -1 - column : column;
}

/// Blocks in [parts of a row, rows].
__global__ __launch_bounds__(kSamplingThreads) void best_kernel(BestColumnsArguments a) {
  let_next_begin();
  wait_for_previous();
  __shared__ unsigned long long scratch[kSamplingWarps];
  const int64_t row_index = blockIdx.y;
  const float* row = a.in + row_index * a.stride;
  unsigned long long best = 0;
  const bool vectors = reinterpret_cast<uintptr_t>(row) % 16 == 0;
  const int64_t whole = vectors ? a.cols / 4 : 0;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSamplingThreads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kSamplingThreads;
#pragma unroll 4
  for (int64_t i = first; i < whole; i += step) {
    const float4 four = reinterpret_cast<const float4*>(row)[i];
    best = max(best, max(max(candidate(four.x, 4 * i), candidate(four.y, 4 * i + 1)),
                         max(candidate(four.z, 4 * i + 2), candidate(four.w, 4 * i + 3))));
  }
  for (int64_t i = 4 * whole + first; i < a.cols; i += step) best = max(best, candidate(row[i], i));
  best = over_block(best, scratch, [](auto x, auto y) { return max(x, y); });
  if (threadIdx.x != 0) return;
  if (gridDim.x > 1) {
    BestOfRow& shared = a.shared[row_index];
    atomicMax(&shared.best, best);
    __threadfence();
    if (atomicAdd(&shared.blocks, 1U) != gridDim.x - 1) return;
    __threadfence();
    best = atomicExch(&shared.best, 0ULL);
    shared.blocks = 0;
  }
  a.columns[row_index] = column_of(best);
}

}  // namespace

void best_columns(cudaStream_t stream, const BestColumnsArguments& arguments) {
  if (arguments.rows == 0) return;
  // As many blocks as keep the GPU busy, each with a few values for every thread.
  constexpr int64_t kBlocks = 128;
  constexpr int64_t kLeast = 4 * kSamplingThreads;
  const int64_t parts =
      arguments.rows > kSharedRows ? 1 : std::clamp<int64_t>(arguments.cols / kLeast, 1, kBlocks / arguments.rows);
  const dim3 grid(static_cast<unsigned>(parts), static_cast<unsigned>(arguments.rows));
  launch_early(stream, best_kernel, grid, kSamplingThreads, 0, arguments);
}

}  // namespace bamba::backend::cuda
