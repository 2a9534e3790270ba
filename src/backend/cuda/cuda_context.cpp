#include "backend/cuda/cuda_context.h"

#include "backend/cuda/check.h"

namespace bamba::backend::cuda {

Stream::Stream() {
  BAMBA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}
Stream::~Stream() {
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

CudaContext::CudaContext(const CudaOptions& options)
    : arena(std::make_shared<Arena>(options.memory)),
      staging_(take(LaunchQueue::kStagingBytes)),
      skinny_(take(skinny_workspace_bytes())),
      gemm_memory_(take(CublasGemm::kWorkspaceBytes)),
      queue(stream, staging_.floats()),
      gemm(gemm_memory_.floats(), CublasGemm::kWorkspaceBytes),
      uploader(stream),
      pool(0) {
  BAMBA_CUDA_CHECK(cudaMemsetAsync(skinny_.floats(), 0, skinny_workspace_bytes(), stream));
}

void* CudaContext::scratch(Scratch which, size_t bytes) {
  Buffer& buffer = scratch_[which];
  if (buffer.bytes() < bytes) {
    buffer = {};  // before the new one is taken
    buffer = take(bytes);
  }
  return buffer.floats();
}

void CudaContext::download(void* host, const void* device, size_t bytes) {
  queue.flush();
  BAMBA_CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream));
  queue.wait();
}

}  // namespace bamba::backend::cuda
