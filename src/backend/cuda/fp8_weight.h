// fp8 weights on the host: e4m3 (1 sign bit, 4 exponent bits with bias 7, 3 mantissa bits, largest value 448, no
// infinities, NaN is 0x7F and 0xFF), and their quantisation.
#pragma once

#include <cstdint>
#include <span>

namespace bamba::backend::cuda {

constexpr float kE4m3Largest = 448;

/// Rounds to nearest, ties to even; past the largest value the largest one. NaN stays NaN.
uint8_t to_e4m3(float value);
/// Exact.
float from_e4m3(uint8_t code);
/// True where no code is a NaN.
bool e4m3_is_finite(std::span<const uint8_t> codes);

/// One scale an output: codes[o, k] * scales[o] ~ weights[o, k], the row's largest weight at +-448. All [out, in]
/// dense. Throws Error(non_finite) when a weight is not finite.
void fp8_quantize_rows(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales);
/// One scale a block of 128 x 128; scales: [ceil(out / 128), ceil(in / 128)].
void fp8_quantize_blocks(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales);

}  // namespace bamba::backend::cuda
