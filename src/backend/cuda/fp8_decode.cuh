// e4m3 to bf16 in registers.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace bamba::backend::cuda {

/// Four codes to two bf16 pairs, exact. The exponent's and mantissa's bits fit bf16's as they are, subnormals included,
/// only 120 powers of two too low (biases 7 and 127): a multiplication puts that right.
__device__ inline void decode_e4m3(uint32_t codes, uint32_t& low, uint32_t& high) {
  const __nv_bfloat162 up = __halves2bfloat162(__ushort_as_bfloat16(0x7B80), __ushort_as_bfloat16(0x7B80));  // 2^120
  const auto pair = [&](uint32_t selector) {
    const uint32_t x = __byte_perm(codes, 0, selector);  // a code in the upper half of each 16 bits
    const uint32_t bits = (x & 0x80008000U) | ((x >> 4) & 0x07F007F0U);
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), up);
    return *reinterpret_cast<const uint32_t*>(&value);
  };
  low = pair(0x1404);
  high = pair(0x3424);
}

}  // namespace bamba::backend::cuda
