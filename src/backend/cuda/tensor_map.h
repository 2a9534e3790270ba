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

/// Rows of bytes in two halves, of which a box takes both.
struct HalvesMapShape {
  const void* data;    ///< of the first half, aligned to 16 bytes
  int64_t cols;        ///< a multiple of 128
  int64_t rows;        ///< at least 1
  int64_t row_bytes;   ///< from row to row; a multiple of 16
  int64_t half_bytes;  ///< from half to half; a multiple of 16
  int box_cols;        ///< a multiple of 128
  int box_rows;
};

/// In shared memory [box_cols / 128][2][box_rows][128], swizzled as above. Coordinates: 0, row, half, column / 128.
CUtensorMap tensor_map(const HalvesMapShape& shape);

}  // namespace bamba::backend::cuda
