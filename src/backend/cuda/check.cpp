#include "backend/cuda/check.h"

#include "base/str.h"

namespace bamba::backend::cuda {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  const auto code = status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::internal;
  fail(code, "CUDA: ", cudaGetErrorName(status), " (", cudaGetErrorString(status), ") in ", call);
}

}  // namespace bamba::backend::cuda
