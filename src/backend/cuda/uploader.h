// Large copies to the GPU through pinned memory: one block is filled while the one before it travels.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "base/thread_pool.h"

namespace bamba::backend::cuda {

class Uploader {
 public:
  explicit Uploader(cudaStream_t stream) : stream_(stream) {}
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// Copies `rows` rows of `row_bytes` from host memory (rows packed) to device memory (rows `pitch` apart, what lies
  /// between is left). The host memory is read when this returns.
  void copy(void* device, size_t pitch, const void* host, size_t row_bytes, size_t rows, ThreadPool& pool);

 private:
  static constexpr size_t kBlocks = 2;
  static constexpr size_t kBlockBytes = size_t{32} << 20;

  void* next_block();

  cudaStream_t stream_;
  void* blocks_[kBlocks] = {};
  cudaEvent_t copied_[kBlocks] = {};
  size_t block_ = 0;
};

}  // namespace bamba::backend::cuda
