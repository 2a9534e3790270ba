// fp8 weights (tensor/fp8_matrix.h) on their way to the GPU, and their other form, with a scale for each block.
#pragma once

#include <cstdint>

#include "tensor/fp8_matrix.h"

namespace bamba::backend::cuda {

/// One scale an output: codes[o, k] * scales[o] ~ weights[o, k], the row's largest weight at +-448. All [out, in]
/// dense. Throws Error(non_finite) when a weight is not finite.
void fp8_quantize_rows(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales);
/// One scale a block of 128 x 128; scales: [ceil(out / 128), ceil(in / 128)].
void fp8_quantize_blocks(const float* weights, int64_t out, int64_t in, uint8_t* codes, float* scales);

}  // namespace bamba::backend::cuda
