// The selective scan at Bamba-9B's shape, one layer a call; ms_per_token counts all 29 Mamba layers.
#include <limits>

#include "shapes.h"

namespace bamba::bench {
namespace {

/// args: tokens, form, threads, sequences
void scan(benchmark::State& state) {
  const int64_t batch = state.range(3);
  const int64_t tokens = state.range(0) * batch;
  const auto form = static_cast<ScanForm>(state.range(1));
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(2)));
  const backend::ScanShape shape{
      kMambaHeads, kMambaHeadDim, 1, kState, 256, 0.0f, std::numeric_limits<float>::infinity()};
  auto xbc = normals(tokens * kConvDim);
  auto dt = normals(tokens * kMambaHeads);
  auto out = normals(tokens * kMambaHeads * kMambaHeadDim);
  const auto vectors = normals(kMambaHeads);
  std::vector<float> a(kMambaHeads);
  for (size_t h = 0; h < a.size(); ++h) a[h] = -static_cast<float>(h + 1) / 8;
  // As many layers' states as the model has, used in turn: a step finds its state in memory, not in a cache.
  std::vector<std::vector<float>> states;
  for (int64_t layer = 0; layer < kMambaLayers * batch; ++layer) {
    states.push_back(normals(kMambaHeads * kMambaHeadDim * kState));
  }
  std::vector<backend::SequenceRows> rows;
  for (int64_t s = 0; s < batch; ++s) rows.push_back({s * state.range(0), state.range(0), 0});
  std::vector<float*> pointers(static_cast<size_t>(batch));
  size_t layer = 0;
  for (auto step : state) {
    static_cast<void>(step);
    for (float*& pointer : pointers) {
      pointer = states[layer].data();
      layer = (layer + 1) % states.size();
    }
    cpu->selective_scan(matrix(xbc, tokens, kConvDim), matrix(dt, tokens, kMambaHeads), rows, pointers, a.data(),
                        vectors.data(), vectors.data(), shape, form, matrix(out, tokens, kMambaHeads * kMambaHeadDim));
  }
  const double updates = static_cast<double>(tokens * kMambaHeads * kMambaHeadDim * kState);
  rate(state, "GFLOP/s", 5 * updates);
  rate(state, "state GB/s",
       8.0 * static_cast<double>(batch) * static_cast<double>(kMambaHeads * kMambaHeadDim * kState));
  state.counters["ms_per_token"] =
      benchmark::Counter(static_cast<double>(tokens) / (1e3 * static_cast<double>(kMambaLayers)),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.SetLabel(form == ScanForm::recurrent ? "recurrent" : "chunked");
}
BENCHMARK(scan)
    ->ArgNames({"tokens", "form", "threads", "batch"})
    ->ArgsProduct({{1, 512}, {0, 1}, {1, 2}, {1}})
    ->ArgsProduct({{1}, {0}, {1, 2}, {8}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bamba::bench
