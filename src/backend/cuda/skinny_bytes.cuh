// What the formats with up to 8 bits a weight have in common in skinny_mma.cuh: a row of warps takes half of a stage's
// 128 bytes for every output, in pieces of 32 bytes, of which a thread reads 8.
#pragma once

#include <cstdint>

#include "backend/cuda/skinny_ring.cuh"

namespace bamba::backend::cuda::skinny {

struct BytesFormat {
  static constexpr bool kGates = true;
  static constexpr bool kFixed = false;
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

/// Group scales of a thread's four outputs, row + 8 i of the warp's: quantized_weight.h puts them side by side. Of two
/// products that gate each other each has half of the memory, for half of the warps.
template <int kGroups, SkinnyEnd kEnd>
__device__ inline void group_factors(const unsigned char* scales, int group, int warp_out, int row,
                                     float (&factors)[4]) {
  constexpr bool kGated = kEnd == SkinnyEnd::gated;
  constexpr int kPitch = kGated ? kGatedTile : kSkinnyTile;
  const int half = kGated ? warp_out / 2 : 0;
  const int place = half * (kGroups * kGatedTile) + group * kPitch + (warp_out * 32 - half * kGatedTile) + row * 4;
  const uint32_t four = *reinterpret_cast<const uint32_t*>(scales + place);
#pragma unroll
  for (int i = 0; i < 4; ++i) factors[i] = static_cast<float>(static_cast<int8_t>(four >> (8 * i)));
}

}  // namespace bamba::backend::cuda::skinny
