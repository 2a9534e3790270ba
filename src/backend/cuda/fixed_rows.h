// Rows of numbers in 16-bit fixed point, a scale for each group of neighbours: what tensor cores multiply with q8 and
// q4 weights without making floats of those.
//
//   value[r, k] = (256 * high[r, k] + low[r, k]) * scales[r, k / kFixedGroup]
//
// The largest of a group has a magnitude of 127 * 256 steps, so that a value is off by at most 2^-16 of it, which is
// less than bf16's 2^-9 of the value itself for all that are larger than 2^-7 of the largest.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace bamba::backend::cuda {

/// Values that share a scale.
constexpr int64_t kFixedGroup = 32;

/// Most columns of rows that fixed_to_bf16() takes: it holds a row in 48 KB of shared memory, as bf16.
constexpr int64_t kFixedMostCols = int64_t{24} * 1024;

/// In device memory, [rows, cols] with cols a multiple of kFixedGroup.
struct FixedRows {
  int8_t* high = nullptr;
  int8_t* low = nullptr;
  int64_t stride = 0;       ///< bytes from row to row of either
  float* scales = nullptr;  ///< [rows, cols / kFixedGroup]; null: there are none
  int64_t scale_stride = 0;
};

struct FixedToBf16Arguments {
  /// Halves of the rows below: row r of `high` lies where row r of `out` begins, `low` behind it.
  FixedRows rows;
  __nv_bfloat16* out;  ///< [n_rows, cols], over the same memory
  int64_t out_stride;  ///< elements
  int64_t n_rows;
  int64_t cols;  ///< at most kFixedMostCols
};

/// Rounds to bf16 in place.
void fixed_to_bf16(cudaStream_t stream, const FixedToBf16Arguments& arguments);

}  // namespace bamba::backend::cuda
