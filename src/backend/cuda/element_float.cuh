// Elements of activations, f32 or bf16, to f32 and back.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

namespace bamba::backend::cuda {

__device__ __forceinline__ float to_float(float v) {
  return v;
}
__device__ __forceinline__ float to_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}
/// To bf16 rounds to nearest even.
template <typename T>
__device__ __forceinline__ T from_float(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    return __float2bfloat16_rn(v);
  }
}

}  // namespace bamba::backend::cuda
