// Descriptions of matrices in device memory, from which the GPU copies boxes to shared memory by itself
// (bulk_copy.cuh).
#pragma once

#include <cuda.h>

#include <cstdint>

namespace bamba::backend::cuda {

/// A matrix and the box that one copy takes of it.
struct TensorMapShape {
  const void* data;   ///< aligned to 16 bytes
  int64_t cols;       ///< elements
  int64_t rows;       ///< at least 1
  int64_t row_bytes;  ///< from row to row; a multiple of 16
  int box_cols;       ///< elements
  int box_rows;
  bool bf16;     ///< elements of 2 bytes instead of 1
  bool swizzle;  ///< a box's row is 128 bytes, and the 16-byte chunk c of row r lies at place c ^ (r % 8)
};

/// What a box holds past the last row or column is zero in shared memory. Throws Error(internal) for a shape that the
/// GPU refuses, Error(unsupported) when the driver is too old.
CUtensorMap tensor_map(const TensorMapShape& shape);

}  // namespace bamba::backend::cuda
