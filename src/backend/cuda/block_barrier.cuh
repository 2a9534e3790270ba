// A barrier for blocks whose warps run different code.
//
// It lies in shared memory (an mbarrier), so where in the code a thread comes to it does not matter: what a thread
// wrote before it arrives is seen by every thread that has waited for the phase. Warps of different roles could meet at
// the hardware's numbered barriers as well, but tools that look for races lose track of those once some barriers are of
// the whole block and others of a part.
#pragma once

#include <cstdint>

#include "backend/cuda/shared_address.cuh"

namespace bamba::backend::cuda {

class BlockBarrier {
 public:
  /// By one thread; the block synchronizes before the first use.
  __device__ __forceinline__ void start(int threads) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(threads) : "memory");
  }
  /// Returns when all threads have come as often as this one.
  __device__ __forceinline__ void arrive_and_wait() {
    uint64_t phase;
    asm volatile("mbarrier.arrive.shared::cta.b64 %0, [%1];" : "=l"(phase) : "r"(address()) : "memory");
    uint32_t done = 0;
    while (done == 0) {
      asm volatile(
          "{\n"
          ".reg .pred p;\n"
          "mbarrier.try_wait.shared::cta.b64 p, [%1], %2;\n"
          "selp.u32 %0, 1, 0, p;\n"
          "}"
          : "=r"(done)
          : "r"(address()), "l"(phase)
          : "memory");
    }
  }

 private:
  __device__ __forceinline__ uint32_t address() const { return shared_address(&word_); }

  uint64_t word_;
};

}  // namespace bamba::backend::cuda
