// Copies of 16 bytes to shared memory that threads ask for themselves (cp.async), and their arrival at barriers.
#pragma once

#include <cstdint>

#include "backend/cuda/bulk_copy.cuh"

namespace bamba::backend::cuda {

/// Both aligned to 16. Where `there` is false, zeros come, and nothing is read.
__device__ inline void copy_16_bytes(uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
/// The thread arrives at the barrier when all copies that it has asked for so far are there.
__device__ inline void arrive_when_copied(const CopyBarrier& barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier.address()) : "memory");
}

}  // namespace bamba::backend::cuda
