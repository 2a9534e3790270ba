// A sum over the lanes of a warp.
#pragma once

namespace bamba::backend::cuda {

/// Every lane gets the same bits; all 32 call.
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) v += __shfl_xor_sync(0xFFFFFFFFU, v, distance);
  return v;
}

}  // namespace bamba::backend::cuda
