// Device code: several neighbouring elements as one load or store.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/element_float.cuh"

namespace bamba::backend::cuda {

/// Elements of a 16-byte access.
template <typename T>
inline constexpr int kPackWidth = 16 / static_cast<int>(sizeof(T));

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T at[kCount];
};

/// kCount elements at `source`, which is aligned to the smaller of 16 bytes and all of them.
template <int kCount, typename T>
__device__ void load_floats(const T* source, float (&out)[kCount]) {
  const auto pack = *reinterpret_cast<const Pack<T, kCount>*>(source);
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[i] = to_float(pack.at[i]);
}
template <int kCount, typename T>
__device__ void store_floats(const float (&values)[kCount], T* target) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.at[i] = from_float<T>(values[i]);
  *reinterpret_cast<Pack<T, kCount>*>(target) = pack;
}

/// Whether rows at `data`, `stride` elements apart, can be read `count` elements at a time.
template <typename T>
bool rows_aligned(const T* data, int64_t stride, int count) {
  const uint64_t bytes = sizeof(T) * static_cast<uint64_t>(count) < 16 ? sizeof(T) * static_cast<uint64_t>(count) : 16;
  return reinterpret_cast<uintptr_t>(data) % bytes == 0 && stride % count == 0;
}

}  // namespace bamba::backend::cuda
