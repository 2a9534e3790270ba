// Biases added to rows of a finished product.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

struct AddBiasArguments {
  void* out;  ///< [rows, cols]
  Element element;
  int64_t stride;  ///< elements
  int64_t rows;
  int64_t cols;
  const float* bias;  ///< [cols]
};

/// out[r, c] += bias[c].
void add_bias(cudaStream_t stream, const AddBiasArguments& arguments);

}  // namespace bamba::backend::cuda
