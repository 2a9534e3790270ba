// Partial sums of a skinny product's tile whose inputs several blocks share. The block that begins a tile ends it; the
// others send it their sums and go on. Every number is its own message: its place in memory is zero until it is there,
// so that nothing needs to be counted or ordered, and whoever takes it makes the place zero again for the next launch.
//
// A block has one tile at most that another one began, its first: so places for one tile are enough for each. Blocks of
// a launch are at most as many as multiprocessors, so all run at the same time and none waits for one that has not
// begun.
#pragma once

#include <cstdint>

#include "backend/cuda/skinny_mma.h"

namespace bamba::backend::cuda::skinny {

template <int kMaxRows>
class SharedSums {
 public:
  /// memory: [blocks, kMaxRows, kSkinnyTile], zero before the first launch.
  __device__ explicit SharedSums(float* memory) : memory_(memory) {}

  /// Four columns of the calling block's.
  __device__ void send(int row, int column, const float4& sums) const {
    store(place(static_cast<int>(blockIdx.x), row, column), number(sums.x), number(sums.y), number(sums.z),
          number(sums.w));
  }
  /// What is there of another block's, sent or not.
  __device__ float4 peek(int block, int row, int column) const {
    float4 sums;
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(sums.x), "=f"(sums.y), "=f"(sums.z), "=f"(sums.w)
                 : "l"(place(block, row, column))
                 : "memory");
    return sums;
  }
  /// sums: what peek() found. Returns when all four are there, and removes them.
  __device__ void take(int block, int row, int column, float4& sums) const {
    while (is_missing(sums.x) || is_missing(sums.y) || is_missing(sums.z) || is_missing(sums.w)) {
      sums = peek(block, row, column);
    }
    store(place(block, row, column), kNothing, kNothing, kNothing, kNothing);
  }

 private:
  static constexpr uint32_t kNothing = 0;
  /// Zero is sent as its negative, which changes no sum.
  static constexpr uint32_t kMinusZero = 0x80000000U;

  static __device__ bool is_missing(float v) { return __float_as_uint(v) == kNothing; }
  static __device__ uint32_t number(float v) { return is_missing(v) ? kMinusZero : __float_as_uint(v); }
  static __device__ void store(float* to, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    asm volatile("st.relaxed.gpu.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x), "r"(y), "r"(z), "r"(w)
                 : "memory");
  }
  __device__ float* place(int block, int row, int column) const {
    return memory_ + (block * kMaxRows + row) * kSkinnyTile + column;
  }

  float* memory_;
};

}  // namespace bamba::backend::cuda::skinny
