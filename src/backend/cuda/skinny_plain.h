// The general path of skinny_linear: any kind of weight, any alignment, f32 or bf16 activations, any number of rows.
#pragma once

#include <cuda_runtime.h>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

/// A warp computes four outputs for up to 8 rows, lanes along the inputs: lane l takes inputs 4 l .. 4 l + 3 of every
/// 128, in order, in f32; the lanes' sums are added in a fixed tree. FP32 multiply-adds only.
void skinny_plain(cudaStream_t stream, const SkinnyArguments& arguments);

}  // namespace bamba::backend::cuda
