// Checkpoints and saved states keep another order of axes than the kernels: this turns one into the other.
#pragma once

#include <cstdint>

namespace bamba {

/// source [rows, cols] -> target [cols, rows]
inline void transpose(const float* source, int64_t rows, int64_t cols, float* target) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) target[c * rows + r] = source[r * cols + c];
  }
}

/// The same for each of `count` matrices, one behind the other.
inline void transpose_each(const float* source, int64_t count, int64_t rows, int64_t cols, float* target) {
  for (int64_t i = 0; i < count; ++i) transpose(source + i * rows * cols, rows, cols, target + i * rows * cols);
}

}  // namespace bamba
