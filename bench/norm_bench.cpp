// Norms and gates at Bamba-9B's widths.
#include "shapes.h"

namespace bamba::bench {
namespace {

/// args: rows, threads
void rms_norm(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  auto in = normals(rows * kHidden);
  auto out = normals(rows * kHidden);
  const auto weight = normals(kHidden);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->rms_norm(matrix(in, rows, kHidden), weight.data(), 1e-5f, matrix(out, rows, kHidden));
  }
  rate(state, "GB/s", 8.0 * static_cast<double>(rows * kHidden));
}

void gated_rms_norm(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  auto in = normals(rows * 2 * kHidden);
  auto gate = normals(rows * 2 * kHidden);
  const auto weight = normals(2 * kHidden);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->gated_rms_norm(matrix(in, rows, 2 * kHidden), matrix(gate, rows, 2 * kHidden), weight.data(), 1e-5f, 1);
  }
  rate(state, "GB/s", 12.0 * static_cast<double>(rows * 2 * kHidden));
}

void gated_activation(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  auto gate = normals(rows * kIntermediate);
  auto up = normals(rows * kIntermediate, 1.1f);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->gated_activation(matrix(gate, rows, kIntermediate), matrix(up, rows, kIntermediate),
                          backend::Activation::silu);
  }
  rate(state, "GB/s", 12.0 * static_cast<double>(rows * kIntermediate));
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "threads"})
      ->ArgsProduct({{1, 512}, {1, 2}})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK(rms_norm)->Apply(shapes);
BENCHMARK(gated_rms_norm)->Apply(shapes);
BENCHMARK(gated_activation)->Apply(shapes);

}  // namespace
}  // namespace bamba::bench
