#include "backend/cuda/fp8_weight.h"

#include <algorithm>
#include <cmath>

#include "backend/cuda/skinny_weight.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

/// weights[rows, cols] with `stride` elements from row to row, at one scale.
void quantize_with_one_scale(const float* weights, int64_t rows, int64_t cols, int64_t stride, uint8_t* codes,
                             float& scale) {
  float largest = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const float weight = weights[r * stride + c];
      if (!std::isfinite(weight)) {
        fail(ErrorCode::non_finite, "a weight is ", weight, "; only finite weights can be quantized");
      }
      largest = std::max(largest, std::abs(weight));
    }
  }
  scale = largest / kE4m3Largest;
  for (int64_t r = 0; r < rows; ++r) {
    // Divided, not multiplied by the inverse, which would be infinite where the scale is subnormal.
    for (int64_t c = 0; c < cols; ++c) {
      codes[r * stride + c] = scale > 0 ? to_e4m3(weights[r * stride + c] / scale) : uint8_t{0};
    }
  }
}

}  // namespace

uint8_t to_e4m3(float value) {
  const auto sign = static_cast<uint8_t>(std::signbit(value) ? 0x80 : 0);
  if (std::isnan(value)) return sign | 0x7F;
  const float magnitude = std::min(std::abs(value), kE4m3Largest);
  constexpr float kSmallestNormal = 0x1p-6f;
  int exponent = -6;
  if (magnitude >= kSmallestNormal) exponent = std::ilogb(magnitude);
  // In units of the last place; nearbyint takes ties to even. 16 units are the next exponent's 8.
  const auto units = static_cast<int>(std::nearbyint(std::scalbn(magnitude, 3 - exponent)));
  // A normal number has 8 units as its hidden bit, which the exponent's field takes over: codes are consecutive.
  return sign | static_cast<uint8_t>((exponent + 6) * 8 + units);
}

float from_e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::nanf("");
  const float magnitude = exponent == 0 ? std::scalbn(static_cast<float>(mantissa), -9)
                                        : std::scalbn(static_cast<float>(8 + mantissa), exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

bool e4m3_is_finite(std::span<const uint8_t> codes) {
  return std::none_of(codes.begin(), codes.end(), [](uint8_t code) { return (code & 0x7F) == 0x7F; });
}

void fp8_quantize_rows(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales) {
  for (int64_t o = 0; o < out; ++o) quantize_with_one_scale(weights + o * in, 1, in, in, codes + o * in, scales[o]);
}

void fp8_quantize_blocks(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales) {
  int64_t block = 0;
  for (int64_t o = 0; o < out; o += kFp8Block) {
    for (int64_t k = 0; k < in; k += kFp8Block) {
      quantize_with_one_scale(weights + o * in + k, std::min(kFp8Block, out - o), std::min(kFp8Block, in - k), in,
                              codes + o * in + k, scales[block++]);
    }
  }
}

}  // namespace bamba::backend::cuda
