// Activation elements in device code: loads and stores of 16 bytes or one element at a time, always as f32 in
// registers; the activation functions; which sequence a tile of rows belongs to.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "backend/backend.h"
#include "backend/cuda/element_float.cuh"

namespace bamba::backend::cuda {

/// Elements of 16 bytes.
template <typename T>
inline constexpr int kFullVector = 16 / sizeof(T);

/// Two bf16 in a word, the first in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ float low_bf16(uint32_t word) {
  return __uint_as_float(word << 16);
}
__device__ __forceinline__ float high_bf16(uint32_t word) {
  return __uint_as_float(word & 0xFFFF0000u);
}

__device__ __forceinline__ uint4 pack_bf16(const float (&v)[8]) {
  return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}

/// n f32 from p: n is 1 or a multiple of 4, and then p is aligned to 16 bytes.
template <int n>
__device__ __forceinline__ void load_vector(const float* p, float (&out)[n]) {
  if constexpr (n == 1) {
    out[0] = *p;
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(p + i);
      out[i] = v.x;
      out[i + 1] = v.y;
      out[i + 2] = v.z;
      out[i + 3] = v.w;
    }
  }
}
/// Stores are to global memory: as assignments the compiler would take some of them apart into words.
template <int n>
__device__ __forceinline__ void store_vector(float* p, const float (&v)[n]) {
  if constexpr (n == 1) {
    *p = v[0];
  } else {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      __stwb(reinterpret_cast<float4*>(p + i), make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]));
    }
  }
}

/// n bf16 from p: n is 1 or 8, and then p is aligned to 16 bytes.
template <int n>
__device__ __forceinline__ void load_vector(const __nv_bfloat16* p, float (&out)[n]) {
  if constexpr (n == 1) {
    out[0] = __bfloat162float(*p);
  } else {
    static_assert(n == 8);
    const uint4 v = *reinterpret_cast<const uint4*>(p);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = low_bf16(words[i]);
      out[2 * i + 1] = high_bf16(words[i]);
    }
  }
}
template <int n>
__device__ __forceinline__ void store_vector(__nv_bfloat16* p, const float (&v)[n]) {
  if constexpr (n == 1) {
    *p = __float2bfloat16_rn(v[0]);
  } else {
    static_assert(n == 8);
    __stwb(reinterpret_cast<uint4*>(p), pack_bf16(v));
  }
}

/// v / (1 + exp(-v)). For bf16 results the quick exponential and quotient (a few f32 ulps) are good enough by far.
template <typename T>
__device__ __forceinline__ float silu(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v / (1.0f + expf(-v));
  } else {
    return __fdividef(v, 1.0f + __expf(-v));
  }
}

template <typename T>
__device__ __forceinline__ float activate(float v, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return silu<T>(v);
    case Activation::gelu:
      return 0.5f * v * (1.0f + erff(v * 0.70710678118654752f));
    case Activation::gelu_tanh:
      return 0.5f * v * (1.0f + tanhf(0.79788456080286536f * (v + 0.044715f * v * v * v)));
    case Activation::relu:
      return fmaxf(v, 0.0f);
  }
  return v;
}

/// Tiles of kernels that walk all sequences of a pass: sequence s owns the tile numbers from first / rows + spare * s
/// on. A sequence of n rows never needs more than n / rows + spare tiles (spare 1: tiles counted from the sequence's
/// first row; 2: a shorter tile may come first), so that no two sequences share a number and none has to know the
/// others' lengths. Numbers beyond a sequence's last tile are left without work. `first` must not decrease with s.
struct TileNumbering {
  int rows;
  int spare;

  __host__ __device__ int64_t base(const SequenceRows& sequence, int64_t s) const {
    return sequence.first / rows + spare * s;
  }
  __host__ int64_t total(int64_t all_rows, int64_t sequences) const { return all_rows / rows + spare * sequences; }
};

struct Tile {
  int64_t sequence;
  int64_t index;  ///< in the sequence
};

/// The sequence that owns tile number `tile`, found by a whole warp.
__device__ __forceinline__ Tile find_tile(const SequenceRows* sequences, int64_t count, TileNumbering numbering,
                                          int64_t tile) {
  const int64_t lane = threadIdx.x % 32;
  int64_t owners = 0;  // sequences that begin at or before the tile
  for (int64_t s = 0; s < count; s += 32) {
    const bool before = s + lane < count && numbering.base(sequences[s + lane], s + lane) <= tile;
    owners += __popc(__ballot_sync(0xFFFFFFFFu, before));
  }
  if (owners == 0) return {0, -1};  // rows before the first sequence
  return {owners - 1, tile - numbering.base(sequences[owners - 1], owners - 1)};
}

}  // namespace bamba::backend::cuda
