// q8 and q4 codes to bf16 or f32 levels in registers.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "tensor/quantized_matrix.h"

namespace bamba::backend::cuda {

/// Eight levels of q4 from `first` on, `more` added to each, a byte each: constants that device code can hold in
/// registers.
constexpr uint64_t q4_level_bytes(size_t first, int more = 0) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < 8; ++i) bytes |= uint64_t{static_cast<uint8_t>(kQ4Levels[first + i] + more)} << (8 * i);
  return bytes;
}
__device__ inline int q4_level(int code) {
  constexpr uint64_t kLow = q4_level_bytes(0);
  constexpr uint64_t kHigh = q4_level_bytes(8);
  return static_cast<int8_t>((code < 8 ? kLow : kHigh) >> (8 * (code & 7)));
}

/// The levels of a byte's low and high code as a bf16 pair, exact.
__device__ inline uint32_t q4_level_pair(int byte) {
  const __nv_bfloat162 pair =
      __floats2bfloat162_rn(static_cast<float>(q4_level(byte & 15)), static_cast<float>(q4_level(byte >> 4)));
  return *reinterpret_cast<const uint32_t*>(&pair);
}

/// Four int8 codes to two bf16 pairs, exact. With m the code's low 7 bits and s its sign bit, 0x4300 | m is 128 + m and
/// 0x4300 | s << 7 is 128 or 256; their difference is m - 128 s, the code.
__device__ inline void decode_q8(uint32_t codes, uint32_t& low, uint32_t& high) {
  const auto pair = [&](uint32_t selector) {
    const uint32_t x = __byte_perm(codes, 0x43434343U, selector);
    const uint32_t minuend = x & 0xFF7FFF7FU;
    const uint32_t subtrahend = x & 0xFF80FF80U;
    const __nv_bfloat162 level = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&minuend),
                                         *reinterpret_cast<const __nv_bfloat162*>(&subtrahend));
    return *reinterpret_cast<const uint32_t*>(&level);
  };
  low = pair(0x4140);
  high = pair(0x4342);
}

}  // namespace bamba::backend::cuda
