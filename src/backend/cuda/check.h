// Errors of CUDA calls as bamba::Error.
#pragma once

#include <cuda_runtime.h>

namespace bamba::backend::cuda {

/// Throws Error(out_of_memory) or Error(internal) with the call's name and CUDA's own words unless `status` is success.
void check(cudaError_t status, const char* call);

}  // namespace bamba::backend::cuda

#define BAMBA_CUDA_CHECK(call) ::bamba::backend::cuda::check((call), #call)
/// After a kernel launch: what the launch itself refused (shape, shared memory), not what the kernel later does.
#define BAMBA_CUDA_CHECK_LAUNCH() ::bamba::backend::cuda::check(cudaGetLastError(), "kernel launch")
