// Choosing tokens from a vocabulary of 128256. A single row is bound by what one multiprocessor reads from L2.
#include "backend/cuda/sampling.h"

#include <cuda_bf16.h>

#include <random>

#include "cuda/attention_sequences.h"
#include "cuda/timing.h"

namespace {

using namespace bamba::bench;

void report(const char* what, const std::vector<float>& row, int64_t rows, const cuda::SamplingRow* setting) {
  const auto vocab = static_cast<int64_t>(row.size());
  std::vector<float> all;
  for (int64_t r = 0; r < rows; ++r) all.insert(all.end(), row.begin(), row.end());
  float* logits = device_array(all);
  cuda::SamplingRow* settings = nullptr;
  if (setting != nullptr) {
    std::vector<cuda::SamplingRow> own(static_cast<size_t>(rows), *setting);
    for (size_t r = 0; r < own.size(); ++r) own[r].uniform = (static_cast<double>(r) + 0.5) / static_cast<double>(rows);
    settings = device_array(own);
  }
  int32_t* ids = device_array(std::vector<int32_t>(static_cast<size_t>(rows)));
  const double us = median_microseconds(nullptr, [&](cudaStream_t stream, int) {
    cuda::sample<float>(stream, {logits, vocab, rows, vocab, settings, ids, nullptr, true});
  });
  std::printf("%-30s %4ld rows %9.1f us\n", what, static_cast<long>(rows), us);
  BAMBA_CUDA_CHECK(cudaFree(logits));
}

}  // namespace

int main() {
  std::mt19937 engine(1);
  std::normal_distribution<float> normal(0, 2.5f);
  std::vector<float> row(128256);
  for (float& v : row) v = normal(engine);
  for (const int64_t rows : {1, 32, 256}) {
    using Row = cuda::SamplingRow;
    report("greedy", row, rows, nullptr);
    const Row plain{.temperature = 0.8f};
    report("temperature", row, rows, &plain);
    const Row top_k{.temperature = 0.8f, .top_k = 50};
    report("top-k 50", row, rows, &top_k);
    const Row both{.top_p = 0.9, .temperature = 0.8f, .top_k = 50};
    report("top-k 50, top-p 0.9", row, rows, &both);
    const Row min_p{.temperature = 0.8f, .min_p = 0.1f};
    report("min-p 0.1", row, rows, &min_p);
    const Row top_p{.top_p = 0.9, .temperature = 0.3f};
    report("top-p 0.9, confident", row, rows, &top_p);
    const Row flat{.top_p = 0.9, .temperature = 2.0f};
    report("top-p 0.9, flat", row, rows, &flat);
  }
  return 0;
}
