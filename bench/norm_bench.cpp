// Norms, gates, rotary embedding and lookup at Bamba-9B's widths.
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
  const auto fresh = normals(rows * 2 * kHidden);
  auto in = fresh;
  auto gate = normals(rows * 2 * kHidden);
  const auto weight = normals(2 * kHidden);
  for (auto step : state) {
    static_cast<void>(step);
    // Gated again and again, the numbers would vanish, and subnormal ones are slow.
    state.PauseTiming();
    in = fresh;
    state.ResumeTiming();
    cpu->gated_rms_norm(matrix(in, rows, 2 * kHidden), matrix(gate, rows, 2 * kHidden), weight.data(), 1e-5f, 1);
  }
  rate(state, "GB/s", 12.0 * static_cast<double>(rows * 2 * kHidden));
}

void gated_activation(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  const auto fresh = normals(rows * kIntermediate);
  auto gate = fresh;
  auto up = normals(rows * kIntermediate);
  for (auto step : state) {
    static_cast<void>(step);
    // As in gated_rms_norm.
    state.PauseTiming();
    gate = fresh;
    state.ResumeTiming();
    cpu->gated_activation(matrix(gate, rows, kIntermediate), matrix(up, rows, kIntermediate),
                          backend::Activation::silu);
  }
  rate(state, "GB/s", 12.0 * static_cast<double>(rows * kIntermediate));
}

void rotate(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  auto heads = normals(rows * kHidden);
  // Angles of 0 keep the numbers what they are.
  std::vector<float> table;
  for (int64_t r = 0; r < rows; ++r) {
    table.insert(table.end(), static_cast<size_t>(kAttention.rotary_dim / 2), 1.0f);
    table.insert(table.end(), static_cast<size_t>(kAttention.rotary_dim / 2), 0.0f);
  }
  for (auto step : state) {
    static_cast<void>(step);
    cpu->rotate(matrix(heads, rows, kHidden), kAttention.n_heads, kAttention.head_dim, kAttention.rotary_dim,
                table.data());
  }
  rate(state, "GB/s", 8.0 * static_cast<double>(rows * kAttention.n_heads * kAttention.rotary_dim));
}

void embed(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(1)));
  constexpr int64_t kVocab = 16384;
  const auto table =
      cpu->pack_embedding(Tensor::from(normals(kVocab * kHidden), {kVocab, kHidden}), WeightFormat::bf16);
  std::vector<int32_t> ids;
  for (int64_t r = 0; r < rows; ++r) ids.push_back(static_cast<int32_t>(r * 7919 % kVocab));
  auto out = normals(rows * kHidden);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->embed(ids, *table, matrix(out, rows, kHidden));
  }
  rate(state, "GB/s", 6.0 * static_cast<double>(rows * kHidden));
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "threads"})
      ->ArgsProduct({{1, 8, 512}, {1, 2}})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK(rms_norm)->Apply(shapes);
BENCHMARK(gated_rms_norm)->Apply(shapes);
BENCHMARK(gated_activation)->Apply(shapes);
BENCHMARK(rotate)->Apply(shapes);
BENCHMARK(embed)->Apply(shapes);

}  // namespace
}  // namespace bamba::bench
