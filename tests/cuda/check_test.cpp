#include <bamba/error.h>

#include "cuda/device.h"

namespace bamba::backend::cuda {
namespace {

TEST(CudaCheck, ErrorsNameTheCallAndTheReason) {
  EXPECT_NO_THROW(check(cudaSuccess, "nothing"));
  try {
    check(cudaErrorMemoryAllocation, "cudaMalloc(&p, 1)");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(std::string(error.what()).find("cudaMalloc(&p, 1)"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
