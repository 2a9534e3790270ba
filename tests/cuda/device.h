// What the CUDA tests share: device memory as a vector, and the skip where there is no GPU.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "backend/cuda/check.h"

namespace bamba::backend::cuda::testing {

inline bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
#define BAMBA_SKIP_WITHOUT_GPU() \
  if (!::bamba::backend::cuda::testing::has_gpu()) GTEST_SKIP() << "no CUDA device on this machine"

/// `count` elements on the device. Fresh memory is filled with the byte 0xFF (a NaN in every float format), so that an
/// element which a kernel leaves unwritten is seen.
template <typename T>
class DeviceVector {
 public:
  explicit DeviceVector(size_t count) : count_(count) {
    BAMBA_CUDA_CHECK(cudaMalloc(&data_, (count > 0 ? count : 1) * sizeof(T)));
    BAMBA_CUDA_CHECK(cudaMemset(data_, 0xFF, count * sizeof(T)));
  }
  explicit DeviceVector(const std::vector<T>& host) : DeviceVector(host.size()) {
    BAMBA_CUDA_CHECK(cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceVector() { cudaFree(data_); }
  DeviceVector(const DeviceVector&) = delete;
  DeviceVector& operator=(const DeviceVector&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  /// Waits for the device.
  std::vector<T> host() const {
    BAMBA_CUDA_CHECK(cudaDeviceSynchronize());
    std::vector<T> out(count_);
    BAMBA_CUDA_CHECK(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return out;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

inline std::vector<float> normals(std::mt19937& engine, size_t count, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(count);
  for (float& v : out) v = normal(engine);
  return out;
}

}  // namespace bamba::backend::cuda::testing
