// Times of kernels by device events: warm up, then the median of repeated batches.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "backend/cuda/check.h"

namespace bamba::bench {

/// Median microseconds of one body(stream, i); i counts the calls, so that a body can rotate among inputs that
/// together outgrow the 50 MB of L2.
template <typename Body>
double median_microseconds(cudaStream_t stream, Body body, int samples = 9, int calls = 20) {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  BAMBA_CUDA_CHECK(cudaEventCreate(&begin));
  BAMBA_CUDA_CHECK(cudaEventCreate(&end));
  int call = 0;
  for (int i = 0; i < 3; ++i) body(stream, call++);
  std::vector<double> times;
  for (int s = 0; s < samples; ++s) {
    BAMBA_CUDA_CHECK(cudaEventRecord(begin, stream));
    for (int i = 0; i < calls; ++i) body(stream, call++);
    BAMBA_CUDA_CHECK(cudaEventRecord(end, stream));
    BAMBA_CUDA_CHECK(cudaEventSynchronize(end));
    float milliseconds = 0;
    BAMBA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
    times.push_back(milliseconds * 1e3 / calls);
  }
  BAMBA_CUDA_CHECK(cudaEventDestroy(begin));
  BAMBA_CUDA_CHECK(cudaEventDestroy(end));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace bamba::bench
