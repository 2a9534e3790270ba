// Products of bf16 rows with bf16 weights on the instructions made for that: AMX, or AVX512-BF16.
//
// Both take pairs of inputs: sum += x[k] * w[k] + x[k + 1] * w[k + 1]. They round inside a pair each in its own way, so
// a machine uses one of them for any number of rows, and decoding agrees with the prompt to the bit.
#pragma once

#include <cstdint>

namespace bamba::backend::cpu {

/// Inputs that a row is filled up to with zeros: those of an AMX tile.
constexpr int64_t kBf16Unit = 32;

/// Rows of activations, rounded: [rows][stride], stride a multiple of kBf16Unit.
struct Bf16Rows {
  uint16_t* data = nullptr;
  int64_t stride = 0;
};

struct Bf16Kernels {
  const char* name;
  /// sums[r, o] = the product of row row0 + r with the 64 outputs of a panel [depth][64] (see linear.h);
  /// sums: [rows, 64], aligned to 64 bytes.
  void (*panel)(const uint16_t* panel, int64_t depth, const Bf16Rows& x, int64_t row0, int64_t rows, float* sums);
};

/// The best of this machine; null where it has neither.
const Bf16Kernels* bf16_kernels();

/// The instructions that bf16_kernels() may choose, as on a lesser machine; for tests.
enum class Bf16Limit { none, avx512, any };
void limit_bf16(Bf16Limit limit);

}  // namespace bamba::backend::cpu
