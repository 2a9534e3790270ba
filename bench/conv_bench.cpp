// The causal convolution at Bamba-9B's shape, one layer a call.
#include "shapes.h"

namespace bamba::bench {
namespace {

/// args: tokens, threads
void conv(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  auto in = normals(tokens * kConvDim);
  auto out = normals(tokens * kConvDim);
  auto window = normals(4 * kConvDim);
  const auto weight = normals(4 * kConvDim);
  const auto bias = normals(kConvDim);
  const backend::SequenceRows rows{0, tokens, 0};
  float* const pointer = window.data();
  for (auto step : state) {
    static_cast<void>(step);
    cpu->causal_conv(matrix(in, tokens, kConvDim), {&rows, 1}, {&pointer, 1}, weight.data(), bias.data(), {kConvDim, 4},
                     backend::Activation::silu, matrix(out, tokens, kConvDim));
  }
  rate(state, "GB/s", 8.0 * static_cast<double>(tokens * kConvDim));
  rate(state, "GFLOP/s", 8.0 * static_cast<double>(tokens * kConvDim));
}
BENCHMARK(conv)
    ->ArgNames({"tokens", "threads"})
    ->ArgsProduct({{1, 512}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bamba::bench
