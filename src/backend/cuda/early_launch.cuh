// Programmatic dependent launch (PTX: griddepcontrol): a kernel that was launched for it may begin while the one before
// it in the stream still runs, and waits for that one's end before it touches what others compute. So its launch costs
// no time of its own, and it can bring weights nearer before its turn.
//
// The rules that keep this right:
//   * A kernel that launch_early() launches calls wait_for_previous() in every thread, whatever else the thread does or
//     leaves. When it ends, all kernels before it have ended too: one that begins early behind it relies on that.
//   * Before the wait it reads weights only, as nothing in a stream writes them, and what only kernels write that ended
//     before the last one that lets its successor begin behind its own wait did (the states of a step's scan,
//     behind a product). It may fetch other memory to L2 (prefetch_to_l2), which holds whatever is written later as
//     well.
//   * let_next_begin() comes first of all in a short kernel: what begins early waits by itself. A long one calls it
//     towards its end, as L2 does not hold for long what the next one fetches.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>

#include "backend/cuda/check.h"

namespace bamba::backend::cuda {

/// Lets the next kernel of the stream begin as soon as all blocks of this one have; no effect on one that was not
/// launched for it.
__device__ inline void let_next_begin() {
  asm volatile("griddepcontrol.launch_dependents;");
}
/// Returns when all kernels before this one have ended and what they wrote is there; at once in a kernel that was not
/// launched early.
__device__ inline void wait_for_previous() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

/// Brings memory to L2: `bytes` > 0, a multiple of 16, from an address aligned to 16. No result; later reads see what
/// was written in the meantime.
__device__ inline void prefetch_to_l2(const void* address, int bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "r"(bytes) : "memory");
}

/// The same for the line that holds the address, wherever that is.
__device__ inline void prefetch_line_to_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address) : "memory");
}

/// kernel<<<grid, block, shared_bytes, stream>>>(arguments...); early: it may begin while the one before it runs.
template <typename... Parameters>
void launch_kernel(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   bool early, const std::type_identity_t<Parameters>&... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  BAMBA_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments...));
}
template <typename... Parameters>
void launch_early(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                  const std::type_identity_t<Parameters>&... arguments) {
  launch_kernel(stream, kernel, grid, block, shared_bytes, true, arguments...);
}

}  // namespace bamba::backend::cuda
