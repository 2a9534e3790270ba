// Addresses in shared memory, as PTX takes them.
#pragma once

#include <cstdint>

namespace bamba::backend::cuda {

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace bamba::backend::cuda
