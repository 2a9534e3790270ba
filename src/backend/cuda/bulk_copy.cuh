// Copies to shared memory by the GPU's copy engine (TMA), and the barriers that tell when they are there.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "backend/cuda/shared_address.cuh"

namespace bamba::backend::cuda {

/// A barrier in shared memory (mbarrier) that counts arrivals and bytes of copies. Its phases take turns: 0, 1, 0, ...
class CopyBarrier {
 public:
  /// By one thread, which calls publish_barriers() behind the last; the block synchronizes before others use it.
  __device__ void start(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&word_)), "r"(arrivals) : "memory");
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&word_)) : "memory");
  }
  /// Besides, the phase ends only when these bytes have come.
  __device__ void arrive_and_expect(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&word_)), "r"(bytes)
                 : "memory");
  }
  /// Returns when the phase (0 or 1) has ended.
  __device__ void wait(int phase) const {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}" ::"r"(shared_address(&word_)),
        "r"(phase)
        : "memory");
  }
  __device__ uint32_t address() const { return shared_address(&word_); }

 private:
  uint64_t word_;
};

__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// `bytes` (a multiple of 16) in a row; `barrier` counts them.
__device__ inline void copy_bytes(uint32_t to, const void* from, int bytes, const CopyBarrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier.address())
               : "memory");
}
/// The box whose first element is [row, col]; `barrier` counts its bytes.
__device__ inline void copy_box(void* to, const CUtensorMap& map, int col, int row, const CopyBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(to)),
      "l"(&map), "r"(col), "r"(row), "r"(barrier.address())
      : "memory");
}

}  // namespace bamba::backend::cuda
