// Kernels that begin before the one in front of them has ended.
#include "backend/cuda/early_launch.cuh"

#include "cuda/device.h"

namespace bamba::backend::cuda {
namespace {

using testing::DeviceVector;

__device__ int64_t nanoseconds() {
  int64_t time;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time)::"memory");
  return time;
}

struct Chain {
  int* value;
  int64_t* times;  ///< begin, end of each link
  int link;
  int64_t spin;  ///< nanoseconds
};

/// Link 0 writes after a while, link 1 waits only, link 2 adds to what link 0 wrote.
__global__ void link_kernel(Chain chain) {
  let_next_begin();
  const int64_t begin = nanoseconds();
  wait_for_previous();
  const int64_t start = nanoseconds();
  while (nanoseconds() - start < chain.spin) {
  }
  if (threadIdx.x > 0) return;
  if (chain.link == 0) *chain.value = 1;
  if (chain.link == 2) *chain.value += 10;
  chain.times[2 * chain.link] = begin;
  chain.times[2 * chain.link + 1] = nanoseconds();
}

TEST(CudaEarlyLaunch, BeginsEarlyAndSeesWhatAllBeforeWrote) {
  BAMBA_SKIP_WITHOUT_GPU();
  DeviceVector<int> value(1);
  DeviceVector<int64_t> times(6);
  cudaStream_t stream = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamCreate(&stream));
  const auto run = [&] {
    for (int link = 0; link < 3; ++link) {
      launch_early(stream, link_kernel, 1, 32, 0, Chain{value.data(), times.data(), link, link == 0 ? 100'000 : 0});
    }
  };
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  run();
  BAMBA_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  BAMBA_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  for (const bool replay : {false, true}) {
    int early = 0;
    constexpr int kRuns = 20;
    for (int i = 0; i < kRuns; ++i) {
      BAMBA_CUDA_CHECK(cudaMemsetAsync(value.data(), 0, sizeof(int), stream));
      if (replay) {
        BAMBA_CUDA_CHECK(cudaGraphLaunch(executable, stream));
      } else {
        run();
      }
      ASSERT_EQ(value.host()[0], 11) << "replay " << replay << ", run " << i;
      const std::vector<int64_t> at = times.host();
      early += at[2] < at[1] && at[4] < at[1] ? 1 : 0;
    }
    // Link 0 takes 100 us, and the host hands over the others in less, but for a run that it is held up in.
    EXPECT_GE(early, kRuns / 2) << "replay " << replay;
  }
  BAMBA_CUDA_CHECK(cudaGraphExecDestroy(executable));
  BAMBA_CUDA_CHECK(cudaGraphDestroy(graph));
  BAMBA_CUDA_CHECK(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace bamba::backend::cuda
