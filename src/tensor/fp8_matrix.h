// 8-bit floating-point weights (e4m3: 1 sign bit, 4 exponent bits with bias 7, 3 mantissa bits, largest value 448, no
// infinities, NaN is 0x7F and 0xFF) with a scale for each row or each block: what fp8 means, apart from how any kernel
// lays it out.
//
// Weight (r, k) of a matrix is code (r, k) * scales[r]: 8 bits a weight, and four bytes a row; or, in checkpoints whose
// scales are for blocks, code (r, k) * scales[r / block rows, k / block columns].
#pragma once

#include <bamba/tensor.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace bamba {

constexpr float kE4m3Largest = 448;

/// Rounds to nearest, ties to even; past the largest value the largest one. NaN stays NaN.
inline uint8_t to_e4m3(float value) {
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >> 24 & 0x80U);
  if (std::isnan(value)) return sign | 0x7F;
  const float magnitude = std::min(std::abs(value), kE4m3Largest);
  // Below the normal numbers, multiples of 2^-9: an addition to a number whose last place is worth that much rounds.
  if (magnitude < 0x1p-6f) {
    return sign | static_cast<uint8_t>(std::bit_cast<uint32_t>(magnitude + 0x1p14f) - std::bit_cast<uint32_t>(0x1p14f));
  }
  // A carry out of the mantissa moves on to the exponent, as it should. The exponents' biases are 127 and 7.
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7FFFFU + (bits >> 20 & 1U);
  return sign | static_cast<uint8_t>((rounded >> 20) - ((127U - 7U) << 3));
}
/// Exact.
float from_e4m3(uint8_t code);
/// True where no code is a NaN.
bool e4m3_is_finite(std::span<const uint8_t> codes);

/// Rounds weights[rows, cols], `stride` elements from row to row, to codes at the same places with one scale for all,
/// which it returns: the largest weight / 448. Throws Error(non_finite) when a weight is not finite.
float fp8_quantize_block(const float* weights, int64_t rows, int64_t cols, int64_t stride, uint8_t* codes);

/// How many rows and columns share a scale, both positive. Blocks at the matrix's lower and right edge may be smaller.
struct Fp8Block {
  int64_t rows = 0;
  int64_t cols = 0;
  bool operator==(const Fp8Block&) const = default;
};
/// [ceil(rows / block.rows), ceil(cols / block.cols)].
Shape fp8_scales_shape(const Fp8Block& block, int64_t rows, int64_t cols);

struct Fp8Matrix {
  Tensor codes;                   ///< F8_E4M3 [rows, cols]
  std::vector<float> scales;      ///< [rows], or with blocks those of fp8_scales_shape() row by row
  std::optional<Fp8Block> block;  ///< none: a scale for each row
};

/// Rounds a tensor [rows, cols] of f32, bf16 or f16 row by row. Throws Error(non_finite).
Fp8Matrix quantize_fp8(const Tensor& weight, ThreadPool& pool);
/// Throws Error(non_finite) when a code is NaN, Error(internal) when there are not as many scales as there must be.
void check_fp8(const Fp8Matrix& matrix, ThreadPool& pool);
/// The weights as f32 [rows, cols]: the code's value times the scale, rounded once.
Tensor widen_fp8(const Fp8Matrix& matrix);

}  // namespace bamba
