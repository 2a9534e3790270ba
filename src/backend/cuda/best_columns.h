// The likeliest token of each row of logits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace bamba::backend::cuda {

struct BestColumnsArguments {
  const float* in;  ///< [rows, cols]
  int64_t stride;
  int64_t rows;
  int64_t cols;
  int32_t*
      columns;  ///< device, [rows]: of the largest value, the first of equals; or -1 - the first that is not finite
};

void best_columns(cudaStream_t stream, const BestColumnsArguments& arguments);

}  // namespace bamba::backend::cuda
