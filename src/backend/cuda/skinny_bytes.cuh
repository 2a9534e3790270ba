// What the formats with up to 8 bits a weight have in common in skinny_mma.cuh: a row of warps takes half of a stage's
// 128 bytes for every output, in pieces of 32 bytes, of which a thread reads 8.
#pragma once

#include <cstdint>

#include "backend/cuda/skinny_mma.cuh"

namespace bamba::backend::cuda::skinny {

struct BytesFormat {
  static constexpr int kPieces = kStageRowBytes / 32 / kWarpsK;  // of a warp
  struct Raw {
    uint2 piece[kPieces];
  };

  __device__ static Raw read(const unsigned char* row, int place, int warp_k, int t) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int chunk = 2 * (warp_k * kPieces + i) + t / 2;
      raw.piece[i] = *reinterpret_cast<const uint2*>(row + (chunk ^ place) * 16 + t % 2 * 8);
    }
    return raw;
  }
};

/// Group scales of a thread's four outputs, row + 8 i of the warp's: quantized_weight.h puts them side by side.
__device__ inline void group_factors(const unsigned char* scales, int group, int warp_out, int row,
                                     float (&factors)[4]) {
  const uint32_t four = *reinterpret_cast<const uint32_t*>(scales + group * kSkinnyTile + warp_out * 32 + row * 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) factors[i] = static_cast<float>(static_cast<int8_t>(four >> (8 * i)));
}

}  // namespace bamba::backend::cuda::skinny
