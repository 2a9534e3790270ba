// The selective scan of a decoding step: see scan_step.cu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "backend/cuda/scan.h"

namespace bamba::backend::cuda {

/// Whether scan_step() takes these arguments: with a gate, one token of each sequence, d_state 64 or 128, d_head a
/// multiple of 64.
bool scan_step_runs(const ScanArguments<__nv_bfloat16>& arguments);

/// scan_recurrent(), the same bits.
void scan_step(cudaStream_t stream, const ScanArguments<__nv_bfloat16>& arguments);

}  // namespace bamba::backend::cuda
