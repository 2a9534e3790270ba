// Weights of any kind, four inputs of one output at a time, as f32: for kernels whose arithmetic is not the limit.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/fp8_decode.cuh"
#include "backend/cuda/quantized_decode.cuh"
#include "backend/cuda/quantized_weight.h"
#include "backend/cuda/skinny_weight.h"

namespace bamba::backend::cuda {

__device__ inline void unpack_pair(uint32_t pair, float& first, float& second) {
  first = __uint_as_float(pair << 16);
  second = __uint_as_float(pair & 0xFFFF0000U);
}

/// Four consecutive values of `from`, those past `count` zero. kVector: `from` is aligned to four elements.
template <bool kVector>
__device__ inline void load_four(const float* from, int64_t count, float (&values)[4]) {
  if (kVector && count >= 4) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    values[0] = four.x;
    values[1] = four.y;
    values[2] = four.z;
    values[3] = four.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = i < count ? from[i] : 0.0f;
}
template <bool kVector>
__device__ inline void load_four(const __nv_bfloat16* from, int64_t count, float (&values)[4]) {
  if (kVector && count >= 4) {
    const uint2 four = *reinterpret_cast<const uint2*>(from);
    unpack_pair(four.x, values[0], values[1]);
    unpack_pair(four.y, values[2], values[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = i < count ? __bfloat162float(from[i]) : 0.0f;
}

/// Weights (o, k .. k + 3), k a multiple of 4, without the row's scale; values past the inputs are finite for the
/// quantized kinds and zero for the others. Exact, but for fp8 with block scales, whose product rounds once.
/// kVector: codes and pitch are aligned to 16 bytes.
template <WeightKind kKind, bool kVector>
__device__ inline void load_weights(const DeviceWeight& w, int64_t o, int64_t k, float (&values)[4]) {
  const auto* row = static_cast<const unsigned char*>(w.codes) + o * w.pitch;
  if constexpr (kKind == WeightKind::f32) {
    load_four<kVector>(reinterpret_cast<const float*>(row) + k, w.in - k, values);
  } else if constexpr (kKind == WeightKind::bf16) {
    load_four<kVector>(reinterpret_cast<const __nv_bfloat16*>(row) + k, w.in - k, values);
  } else {
    uint32_t codes = 0;
    uint32_t low = 0;
    uint32_t high = 0;
    if constexpr (kKind == WeightKind::q4) {
      codes = *reinterpret_cast<const uint16_t*>(row + q4_place(k));
      low = q4_level_pair(static_cast<int>(codes & 0xFF));
      high = q4_level_pair(static_cast<int>(codes >> 8));
    } else if constexpr (kKind == WeightKind::q8) {
      decode_q8(*reinterpret_cast<const uint32_t*>(row + k), low, high);
    } else {
      if (kVector && w.in - k >= 4) {
        codes = *reinterpret_cast<const uint32_t*>(row + k);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) codes |= k + i < w.in ? uint32_t{row[k + i]} << (8 * i) : 0U;
      }
      decode_e4m3(codes, low, high);
    }
    unpack_pair(low, values[0], values[1]);
    unpack_pair(high, values[2], values[3]);
    float scale = 1;
    if constexpr (kKind == WeightKind::fp8) {
      if (w.block_scales == nullptr) return;
      scale = __ldg(w.block_scales + o / kFp8Block * ((w.in + kFp8Block - 1) / kFp8Block) + k / kFp8Block);
    } else {
      constexpr int64_t kGroup = kKind == WeightKind::q4 ? 32 : 64;
      const int64_t pitch = (w.out + 127) / 128 * 128;
      scale = static_cast<float>(w.group_scales[k / kGroup * pitch + scale_place(o)]);
    }
    for (float& value : values) value *= scale;
  }
}

/// The row's scale; 1 where there is none.
template <WeightKind kKind>
__device__ inline float row_scale(const DeviceWeight& w, int64_t o) {
  if constexpr (kKind == WeightKind::f32 || kKind == WeightKind::bf16) return 1;
  return w.row_scales != nullptr ? w.row_scales[o] : 1.0f;
}

/// Whether load_weights may take kVector.
inline bool has_vectors(const DeviceWeight& w) {
  return reinterpret_cast<uintptr_t>(w.codes) % 16 == 0 && w.pitch % 16 == 0;
}

/// Calls function.template operator()<kind>() for the weight's kind.
template <typename Function>
void with_kind(WeightKind kind, Function function) {
  switch (kind) {
    case WeightKind::f32:
      return function.template operator()<WeightKind::f32>();
    case WeightKind::bf16:
      return function.template operator()<WeightKind::bf16>();
    case WeightKind::fp8:
      return function.template operator()<WeightKind::fp8>();
    case WeightKind::q8:
      return function.template operator()<WeightKind::q8>();
    case WeightKind::q4:
      return function.template operator()<WeightKind::q4>();
  }
}

}  // namespace bamba::backend::cuda
