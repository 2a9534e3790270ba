// Memory for weights, states and scratch.
#pragma once

#include <cstddef>

namespace bamba::backend::cpu {

/// Uninitialised, aligned to 64 bytes; large blocks to 2 MiB, in huge pages where the system has them to give: a
/// decoding step walks through all weights, and with 4 KiB pages it would spend much of its time on translation.
/// Throws Error(out_of_memory). Never null, even for 0 bytes.
void* allocate_memory(size_t bytes);

struct FreeMemory {
  void operator()(void* memory) const;
};

}  // namespace bamba::backend::cpu
