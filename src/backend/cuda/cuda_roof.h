// What the GPU can do at best.
#pragma once

#include "backend/cuda/cuda_context.h"

namespace bamba::backend::cuda {

/// The copy bandwidth (bytes read plus bytes written), and the rates of large matrix products through cuBLASLt in f32
/// and bf16. Takes about a second and a GiB of the context's memory meanwhile.
MachineRoof measure_cuda_roof(CudaContext& context);

}  // namespace bamba::backend::cuda
