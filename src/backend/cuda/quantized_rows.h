// Rows of a weight in plain bf16 or f32: for products of many rows (through cuBLASLt), embeddings and reading back.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

struct WeightRowsArguments {
  DeviceWeight weight;
  int64_t first = 0;             ///< row i is weight row first + i,
  const int32_t* ids = nullptr;  ///< or, where given, ids[i]: device memory, each in [0, weight.out)
  int64_t rows = 0;
  void* out = nullptr;  ///< [rows, weight.in]
  Element out_element = Element::bf16;
  int64_t out_stride = 0;  ///< elements
};

/// out[i, k] = weight, in f32 as (code * group or block scale) * row scale, then rounded to nearest even for bf16.
/// Reads and writes at memory speed when addresses and strides are multiples of 16 bytes; any others work.
void weight_rows(cudaStream_t stream, const WeightRowsArguments& arguments);

}  // namespace bamba::backend::cuda
