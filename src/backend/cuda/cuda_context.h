// What the operations of the CUDA backend share: the stream, its memory, the queue of launches and scratch memory.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <memory>

#include "backend/backend.h"
#include "backend/cuda/arena.h"
#include "backend/cuda/cublas_gemm.h"
#include "backend/cuda/launch_queue.h"
#include "backend/cuda/uploader.h"
#include "base/thread_pool.h"

namespace bamba::backend::cuda {

/// A stream with a name to its end.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaContext {
 public:
  explicit CudaContext(const CudaOptions& options);

  enum Scratch : size_t {
    unpacked,
    scan,
    spans,
    copies,
    norm_squares,
    gate_squares,
    norm_scales,
    gate_scales,
    scratches
  };
  /// At least `bytes`; grow-only, with whatever was in it before.
  void* scratch(Scratch which, size_t bytes);
  /// Memory of this backend. Not filled.
  Buffer take(size_t bytes) { return {take_shared(arena, bytes), bytes}; }
  /// Device memory to the host, after all queued work; waits.
  void download(void* host, const void* device, size_t bytes);

  Stream stream;
  std::shared_ptr<Arena> arena;

 private:
  Buffer staging_;
  Buffer skinny_;
  Buffer gemm_memory_;
  std::array<Buffer, scratches> scratch_;

 public:
  LaunchQueue queue;
  CublasGemm gemm;
  Uploader uploader;
  ThreadPool pool;

  void* skinny_workspace() const { return skinny_.floats(); }
};

}  // namespace bamba::backend::cuda
