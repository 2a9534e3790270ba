// What the benchmarks of the Mamba kernels share: ordinary random numbers on the device, batches, and a table's line.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "backend/backend.h"
#include "cuda/timing.h"

namespace bamba::bench {

// Of one H100: what a large copy reaches, reads and writes counted, and dense bf16 products.
constexpr double kCopyBytesPerSecond = 3.0e12;
constexpr double kFlopsPerSecond = 750e12;

/// About normal: the sum of four uniform 16-bit numbers of a hash of the index.
template <typename T>
__global__ void fill_kernel(T* out, int64_t count, float mean, float scale, uint64_t seed) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  uint64_t h = (static_cast<uint64_t>(i) + seed) * 0x9E3779B97F4A7C15u;
  h = (h ^ (h >> 31)) * 0xD6E8FEB86659FD93u;
  h ^= h >> 32;
  float sum = 0;
  for (int k = 0; k < 4; ++k) sum += static_cast<float>(h >> (16 * k) & 0xFFFF);
  out[i] = static_cast<T>(mean + scale * (sum / 65536.0f - 2.0f) * 1.732f);
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t count) : count_(count) {
    BAMBA_CUDA_CHECK(cudaMalloc(&data_, static_cast<size_t>(std::max<int64_t>(count, 1)) * sizeof(T)));
  }
  DeviceArray(int64_t count, float mean, float scale) : DeviceArray(count) {
    fill_kernel<<<static_cast<unsigned>((count + 255) / 256), 256>>>(data_, count, mean, scale, 1);
    BAMBA_CUDA_CHECK_LAUNCH();
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(static_cast<int64_t>(host.size())) {
    BAMBA_CUDA_CHECK(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  int64_t count_;
};

inline std::vector<backend::SequenceRows> equal_sequences(int64_t sequences, int64_t tokens) {
  std::vector<backend::SequenceRows> out;
  for (int64_t s = 0; s < sequences; ++s) out.push_back({s * tokens, tokens, 0});
  return out;
}
/// Places for `count` states of `floats` each in one array.
inline std::vector<float*> state_pointers(float* base, int64_t count, int64_t floats) {
  std::vector<float*> out;
  for (int64_t s = 0; s < count; ++s) out.push_back(base + s * floats);
  return out;
}
/// Sets of inputs so that they do not fit into L2 together.
inline int64_t rotation(double bytes) {
  return std::max<int64_t>(1, static_cast<int64_t>(200e6 / bytes) + 1);
}

inline void print_line(const char* name, int64_t sequences, int64_t tokens, double microseconds, double bytes,
                       double flops = 0) {
  const double floor = std::max(bytes / kCopyBytesPerSecond, flops / kFlopsPerSecond) * 1e6;
  std::printf("%-28s %5lld x %-6lld %9.2f us %8.0f GB/s %7.1f TFLOP/s %6.1f %% of roof\n", name,
              static_cast<long long>(sequences), static_cast<long long>(tokens), microseconds,
              bytes / microseconds * 1e-3, flops / microseconds * 1e-6, 100 * floor / microseconds);
}

}  // namespace bamba::bench
