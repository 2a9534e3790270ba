// Activations in e4m3 with a scale for each row, for fp8 products of many rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

struct Fp8RowsArguments {
  const void* in = nullptr;  ///< [rows, cols]
  Element in_element = Element::bf16;
  int64_t in_stride = 0;  ///< elements
  int64_t rows = 0;
  int64_t cols = 0;
  uint8_t* codes = nullptr;     ///< [rows, code_stride]
  int64_t code_stride = 0;      ///< bytes
  float* row_scales = nullptr;  ///< [rows]
};

/// row_scales[r] = max |in[r]| / 448 (1 for a row of zeros), codes = in / scale rounded to nearest even. A row depends
/// on itself alone. NaN becomes NaN; a row with an infinity becomes NaN where that was.
void fp8_rows(cudaStream_t stream, const Fp8RowsArguments& arguments);

}  // namespace bamba::backend::cuda
