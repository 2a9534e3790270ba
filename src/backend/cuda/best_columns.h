// The likeliest token of each row of logits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace bamba::backend::cuda {

/// Where the blocks of a row meet; zero before the first call, left so by each.
struct BestOfRow {
  unsigned long long best;
  unsigned int blocks;
};
/// Most rows that several blocks each look through.
constexpr int64_t kSharedRows = 32;

struct BestColumnsArguments {
  const float* in;  ///< [rows, cols]
  int64_t stride;
  int64_t rows;
  int64_t cols;
  /// [rows], memory that the GPU can write to: of the largest value, the first of equals; or -1 - the first that is not
  /// finite
  int32_t* columns;
  BestOfRow* shared;  ///< [kSharedRows], not shared by calls that may overlap in time
};

void best_columns(cudaStream_t stream, const BestColumnsArguments& arguments);

}  // namespace bamba::backend::cuda
