// Making the numbers of fixed_rows.h.
#pragma once

#include <cstdint>

#include "backend/cuda/fixed_rows.h"

namespace bamba::backend::cuda {

/// A group's scale, of the largest magnitude in it. Not finite if any of its values is not: then every sum shows that.
class FixedScale {
 public:
  /// The bits of a magnitude: as integers they are ordered, NaN above all.
  static __device__ uint32_t magnitude(float v) { return __float_as_uint(v) & 0x7FFFFFFFU; }

  explicit __device__ FixedScale(uint32_t largest) {
    constexpr float kSteps = 127 * 256;
    const float v = __uint_as_float(largest);
    // Smaller ones are zero; their quotient might be infinite.
    const bool nothing = v < 1e-30f;
    steps_ = nothing ? 0.0f : __fdividef(kSteps, v);
    scale = nothing ? 0.0f : v * (1.0f / kSteps);
  }
  __device__ void round(float v, int& high, int& low) const {
    const int steps = __float2int_rn(v * steps_);
    high = (steps + 128) >> 8;
    low = steps - high * 256;
  }

  float scale;

 private:
  float steps_;
};

__device__ inline uint32_t pack_bytes(const int (&v)[4]) {
  const uint32_t low = __byte_perm(static_cast<uint32_t>(v[0]), static_cast<uint32_t>(v[1]), 0x0040);
  const uint32_t high = __byte_perm(static_cast<uint32_t>(v[2]), static_cast<uint32_t>(v[3]), 0x0040);
  return __byte_perm(low, high, 0x5410);
}

/// Four neighbours of a group that eight neighbouring lanes have; col is a multiple of four. lanes: who calls.
__device__ inline void store_fixed(const FixedRows& rows, int row, int col, const float (&v)[4],
                                   uint32_t lanes = 0xFFFFFFFFU) {
  uint32_t largest = 0;
#pragma unroll
  for (const float each : v) largest = max(largest, FixedScale::magnitude(each));
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2) largest = max(largest, __shfl_xor_sync(lanes, largest, offset));
  const FixedScale scale(largest);
  int high[4];
  int low[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) scale.round(v[i], high[i], low[i]);
  const int64_t at = row * rows.stride + col;
  *reinterpret_cast<uint32_t*>(rows.high + at) = pack_bytes(high);
  *reinterpret_cast<uint32_t*>(rows.low + at) = pack_bytes(low);
  if (threadIdx.x % 8 == 0) rows.scales[row * rows.scale_stride + col / kFixedGroup] = scale.scale;
}

/// One of a group that a warp has, a value each.
__device__ inline void store_fixed(const FixedRows& rows, int64_t row, int64_t col, float v) {
  const FixedScale scale(__reduce_max_sync(0xFFFFFFFFU, FixedScale::magnitude(v)));
  int high = 0;
  int low = 0;
  scale.round(v, high, low);
  rows.high[row * rows.stride + col] = static_cast<int8_t>(high);
  rows.low[row * rows.stride + col] = static_cast<int8_t>(low);
  if (threadIdx.x % 32 == 0) rows.scales[row * rows.scale_stride + col / kFixedGroup] = scale.scale;
}

}  // namespace bamba::backend::cuda
