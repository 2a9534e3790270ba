// In builds without the CUDA backend.
#include "backend/backend.h"
#include "base/str.h"

namespace bamba::backend {

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) {
  fail(ErrorCode::unsupported, "device \"cuda\" is not in this build; available: cpu (configure with -DBAMBA_CUDA=ON)");
}

}  // namespace bamba::backend
