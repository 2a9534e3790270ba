// What the formats with up to 8 bits a weight have in common in skinny_mma.cuh: four rows of warps, each of which takes
// 32 bytes of a stage's 128 for every output, 8 bytes a thread.
#pragma once

#include <cstdint>

#include "backend/cuda/skinny_mma.cuh"

namespace bamba::backend::cuda::skinny {

struct BytesFormat {
  static constexpr int kWarpsK = 4;
  using Raw = uint2;

  /// Four rows' 32 bytes fill the banks.
  __device__ static int chunk(int row, int c) { return c ^ ((row & 3) << 1); }
  __device__ static uint2 read(const unsigned char* weights, int row, int warp_k, int t) {
    return *reinterpret_cast<const uint2*>(weights + row * kStageRowBytes + chunk(row, 2 * warp_k + t / 2) * 16 +
                                           t % 2 * 8);
  }
};

/// Group scales of the four rows of a thread: quantized_weight.h puts them side by side.
__device__ inline void group_factors(const unsigned char* scales, int group, int warp_out, int g, float (&factors)[4]) {
  const uint32_t four = *reinterpret_cast<const uint32_t*>(scales + group * kSkinnyTile + warp_out * 32 + g * 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) factors[i] = static_cast<float>(static_cast<int8_t>(four >> (8 * i)));
}

}  // namespace bamba::backend::cuda::skinny
