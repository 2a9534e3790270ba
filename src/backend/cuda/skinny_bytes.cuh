// What the formats with up to 8 bits a weight have in common in skinny_mma.cuh: a row of warps takes half of a stage's
// 128 bytes for every output, in pieces of 32 bytes, of which a thread reads 8.
#pragma once

#include <cstdint>

#include "backend/cuda/skinny_shape.cuh"

namespace bamba::backend::cuda::skinny {

struct BytesFormat {
  static constexpr bool kGates = true;
  static constexpr bool kFixed = false;
  static constexpr int kPieces = kStageRowBytes / 32 / kWarpsK;  // of a warp
  struct Raw {
    uint2 piece[kPieces];
  };

  /// Of a thread's piece i in a row.
  __device__ static int piece_offset(int place, int warp_k, int t, int i) {
    const int chunk = 2 * (warp_k * kPieces + i) + t / 2;
    return (chunk ^ place) * 16 + t % 2 * 8;
  }
  __device__ static Raw read(const unsigned char* row, int place, int warp_k, int t) {
    Raw raw;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      raw.piece[i] = *reinterpret_cast<const uint2*>(row + piece_offset(place, warp_k, t, i));
    }
    return raw;
  }
};

/// Where the group scales of a thread's four outputs are, row + 8 i of the warp's: quantized_weight.h puts them side by
/// side. Of two products that gate each other each has half of the memory, for half of the warps.
template <int kGroups, SkinnyEnd kEnd>
__device__ inline int group_scale_offset(int group, int warp_out, int row) {
  constexpr bool kGated = kEnd == SkinnyEnd::gated;
  constexpr int kPitch = kGated ? kGatedTile : kSkinnyTile;
  const int half = kGated ? warp_out / 2 : 0;
  return half * (kGroups * kGatedTile) + group * kPitch + (warp_out * 32 - half * kGatedTile) + row * 4;
}
__device__ inline void unpack_group_scales(uint32_t four, float (&factors)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) factors[i] = static_cast<float>(static_cast<int8_t>(four >> (8 * i)));
}
template <int kGroups, SkinnyEnd kEnd>
__device__ inline void group_factors(const unsigned char* scales, int group, int warp_out, int row,
                                     float (&factors)[4]) {
  const int place = group_scale_offset<kGroups, kEnd>(group, warp_out, row);
  unpack_group_scales(*reinterpret_cast<const uint32_t*>(scales + place), factors);
}

}  // namespace bamba::backend::cuda::skinny
