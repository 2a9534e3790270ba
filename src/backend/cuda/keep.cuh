// Values that stay in registers: without this the compiler finds them out again where they are used, in every turn of a
// loop or behind a wait.
#pragma once

#include <cstdint>

namespace bamba::backend::cuda {

__device__ inline void keep(uint32_t& value) {
  asm volatile("" : "+r"(value));
}
template <typename T>
__device__ void keep(const T*& address) {
  asm volatile("" : "+l"(address));
}

}  // namespace bamba::backend::cuda
