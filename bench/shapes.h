// Bamba-9B's sizes, and what all micro-benchmarks share.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <vector>

#include "backend/backend.h"

namespace bamba::bench {

constexpr int64_t kHidden = 4096;
constexpr int64_t kIntermediate = 14336;
constexpr int64_t kInProj = 16768;
constexpr int64_t kConvDim = 8448;
constexpr int64_t kMambaHeads = 128;
constexpr int64_t kMambaHeadDim = 64;
constexpr int64_t kState = 128;
constexpr backend::AttentionShape kAttention{32, 8, 128, 64};
constexpr int64_t kMambaLayers = 29;

inline std::vector<float> normals(int64_t count, float scale = 1) {
  // Speed does not depend on the values as long as they are ordinary: a few thousand, repeated.
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  std::vector<float> some(4099);
  for (float& v : some) v = scale * normal(engine);
  std::vector<float> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) out[i] = some[i % some.size()];
  return out;
}

inline backend::Matrix matrix(std::vector<float>& memory, int64_t rows, int64_t cols) {
  return {memory.data(), rows, cols, cols};
}

inline void rate(benchmark::State& state, const char* name, double per_iteration) {
  state.counters[name] = benchmark::Counter(per_iteration * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace bamba::bench
