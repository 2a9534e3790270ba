// Pages and sequences for benchmarks of attention: numbers of no meaning, but neither zeros nor constants.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <vector>

#include "backend/cuda/attention.h"
#include "backend/cuda/check.h"
#include "backend/cuda/kv_pages.h"

namespace bamba::bench {

using backend::AttentionShape;
using backend::SequenceRows;
namespace cuda = backend::cuda;

inline constexpr double kCopyBytesPerSecond = 3.0e12;
inline constexpr double kTensorFlopsPerSecond = 750e12;
inline constexpr AttentionShape kShape9b{32, 8, 128, 64, KvFormat::bf16};

template <typename T>
T* device_array(const std::vector<T>& host) {
  T* out = nullptr;
  BAMBA_CUDA_CHECK(cudaMalloc(&out, host.size() * sizeof(T)));
  BAMBA_CUDA_CHECK(cudaMemcpy(out, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  return out;
}

/// `count` numbers in bf16, of about -2 to 2.
inline __nv_bfloat16* device_numbers(size_t count) {
  std::vector<__nv_bfloat16> period(1 << 20);
  uint32_t state = 1;
  for (auto& v : period) {
    state = state * 1664525 + 1013904223;
    v = __nv_bfloat16(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-30f);
  }
  __nv_bfloat16* out = nullptr;
  BAMBA_CUDA_CHECK(cudaMalloc(&out, count * sizeof(__nv_bfloat16)));
  for (size_t i = 0; i < count; i += period.size()) {
    BAMBA_CUDA_CHECK(cudaMemcpy(out + i, period.data(), std::min(period.size(), count - i) * sizeof(__nv_bfloat16),
                                cudaMemcpyHostToDevice));
  }
  return out;
}

/// Sequences of these lengths with pages of their own; memory lives as long as the program.
struct BenchSequences {
  std::vector<SequenceRows> rows;
  const SequenceRows* device_rows;
  float* const* const* pages;

  explicit BenchSequences(const std::vector<SequenceRows>& rows_) : rows(rows_), device_rows(device_array(rows_)) {
    const size_t bytes = cuda::kv_page_bytes(kShape9b);
    std::vector<float* const*> tables;
    for (const SequenceRows& own : rows) {
      const auto count = static_cast<size_t>((own.start + own.count + cuda::kPageTokens - 1) / cuda::kPageTokens);
      auto* memory = reinterpret_cast<uint8_t*>(device_numbers(count * bytes / sizeof(__nv_bfloat16)));
      std::vector<float*> table;
      for (size_t i = 0; i < count; ++i) table.push_back(reinterpret_cast<float*>(memory + (i * 7919) % count * bytes));
      tables.push_back(device_array(table));
    }
    pages = device_array(tables);
  }
};

}  // namespace bamba::bench
