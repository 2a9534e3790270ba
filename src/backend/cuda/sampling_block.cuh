// Device code: reductions over a block of 1024 threads, and scores as integers in the same order.
#pragma once

#include <cstdint>

namespace bamba::backend::cuda {

inline constexpr int kSamplingThreads = 1024;
inline constexpr int kSamplingWarps = kSamplingThreads / 32;

/// Unsigned integers in the order of the scores; both zeros are one.
__device__ inline uint32_t score_key(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ inline float key_score(uint32_t key) {
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7FFFFFFFU : ~key);
}
/// The lowest key of a token that may be chosen: just above -infinity.
inline constexpr uint32_t kLowestKey = 0x00800000U;

/// Combines a number of every thread, always in the same tree; all threads get the result. combine is commutative.
template <typename T, typename Combine>
__device__ T over_block(T value, T (&scratch)[kSamplingWarps], Combine combine) {
#pragma unroll
  for (int mask = 1; mask < 32; mask *= 2) value = combine(value, __shfl_xor_sync(~0U, value, mask));
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  value = scratch[threadIdx.x % 32];
#pragma unroll
  for (int mask = 1; mask < 32; mask *= 2) value = combine(value, __shfl_xor_sync(~0U, value, mask));
  return value;
}

/// The largest 32-bit number for which `holds`, true up to some number and false from there on; 0 where it never is.
/// holds is called by all threads and returns the same to all.
template <typename Holds>
__device__ uint32_t largest_where(Holds holds) {
  uint32_t found = 0;
  for (uint32_t bit = 0x80000000U; bit != 0; bit /= 2) {
    if (holds(found | bit)) found |= bit;
  }
  return found;
}

}  // namespace bamba::backend::cuda
