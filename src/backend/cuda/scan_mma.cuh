// The instructions under the chunked scan: asynchronous copies to shared memory, and warp-wide products of bf16 tiles.
//
// Of m16n8k16, with g = lane / 4 and q = lane % 4, a lane holds
//   of A [16, 16]: rows g and g + 8, columns 2q, 2q + 1 and 2q + 8, 2q + 9:  a0 (g, 2q) a1 (g + 8, 2q) a2 (g, 2q + 8)
//                  a3 (g + 8, 2q + 8), two bf16 each
//   of B [16, 8]:  rows as A's columns, column g:  b0 (2q, g) b1 (2q + 8, g)
//   of D [16, 8]:  d0 d1 (g, 2q) (g, 2q + 1), d2 d3 the same of row g + 8.
#pragma once

#include <cstdint>

#include "backend/cuda/shared_address.cuh"

namespace bamba::backend::cuda {

/// 16 bytes to shared memory, zeros when not `inside` (then `source` is not read, but must be a global address).
__device__ __forceinline__ void copy_async(uint32_t target, const void* source, bool inside) {
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(__cvta_generic_to_global(source)),
               "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copies_begin() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
__device__ __forceinline__ void copies_done() {
  asm volatile("cp.async.wait_group 0;" ::: "memory");
}

/// Four 8 x 8 tiles of bf16, transposed on the way: lane l gives the address of row l % 8 of tile l / 8; of tile t, the
/// lane gets rows 2q, 2q + 1 of column g.
__device__ __forceinline__ void load_transposed(uint32_t address, uint32_t (&tiles)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(address)
               : "memory");
}

/// d += a b.
__device__ __forceinline__ void multiply_tiles(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                               uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// 2^v for v <= 0, two ulps, zero from -127 or so on.
__device__ __forceinline__ float exp2_quick(float v) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}

}  // namespace bamba::backend::cuda
