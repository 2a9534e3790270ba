// Programmatic dependent launch (PTX: griddepcontrol): a kernel that was launched for it may begin while the one before
// it in the stream still runs, and waits for that one's end before it reads results. It uses the time to fetch weights.
#pragma once

namespace bamba::backend::cuda {

/// Lets the next kernel of the stream begin as soon as all blocks of this one have; no effect on one that was not
/// launched for it.
__device__ inline void let_next_begin() {
  asm volatile("griddepcontrol.launch_dependents;");
}

}  // namespace bamba::backend::cuda
