// Linear layers: decoding is bound by reading the weights (compare GB/s with bench_roof), prompts by multiply-adds.
#include "shapes.h"

namespace bamba::bench {
namespace {

using backend::make_cpu_backend;

/// args: rows, in, out, weight format, threads (0: all processors), activations in bf16
void linear(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const int64_t in = state.range(1);
  const int64_t out = state.range(2);
  const auto format = static_cast<WeightFormat>(state.range(3));
  const auto activations = state.range(5) != 0 ? ActivationFormat::bf16 : ActivationFormat::f32;
  const auto cpu = make_cpu_backend(static_cast<int>(state.range(4)), activations);
  const auto weight = cpu->pack_linear(Tensor::from(normals(in * out), {out, in}).to(DType::bf16), format);
  auto x = normals(rows * in);
  auto y = normals(rows * out);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->linear(matrix(x, rows, in), *weight, nullptr, false, matrix(y, rows, out));
  }
  rate(state, "GB/s", static_cast<double>(weight->bytes()));
  rate(state, "GFLOP/s", 2.0 * static_cast<double>(rows * in * out));
  state.SetLabel(std::string(weight_format_name(format)));
}
constexpr auto kF32 = static_cast<int64_t>(WeightFormat::f32);
constexpr auto kBf16 = static_cast<int64_t>(WeightFormat::bf16);
constexpr auto kF16 = static_cast<int64_t>(WeightFormat::f16);
constexpr auto kQ8 = static_cast<int64_t>(WeightFormat::q8);
constexpr auto kQ4 = static_cast<int64_t>(WeightFormat::q4);
BENCHMARK(linear)
    ->ArgNames({"rows", "in", "out", "format", "threads", "bf16"})
    ->ArgsProduct({{1}, {kHidden}, {kInProj}, {kF32, kBf16, kF16}, {1, 2}, {0}})
    ->ArgsProduct({{1}, {kIntermediate}, {kHidden}, {kBf16}, {1, 2}, {0}})
    ->ArgsProduct({{2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96}, {kHidden}, {kInProj}, {kBf16}, {1, 2}, {0}})
    ->ArgsProduct({{1, 2, 4, 8, 16, 17, 32, 64, 512}, {kHidden}, {kInProj}, {kQ8, kQ4}, {1, 2}, {0}})
    ->ArgsProduct({{1, 8, 512}, {kIntermediate}, {kHidden}, {kQ8, kQ4}, {1, 2}, {0}})
    ->ArgsProduct({{1, 16}, {kHidden}, {kInProj, 2 * kIntermediate}, {kQ8, kQ4}, {0}, {0}})  // decoding, batched
    ->ArgsProduct({{1, 16}, {kIntermediate}, {kHidden}, {kQ8, kQ4}, {0}, {0}})
    ->ArgsProduct({{512}, {kHidden}, {kInProj}, {kF32, kBf16, kF16}, {1, 2}, {0}})
    ->ArgsProduct({{512}, {kIntermediate}, {kHidden}, {kBf16}, {1, 2}, {0}})
    ->ArgsProduct({{1}, {256}, {256, 1096}, {kBf16}, {1, 2}, {0}})
    ->ArgsProduct({{1, 4, 16, 64, 512}, {kHidden}, {kInProj}, {kBf16}, {1, 2}, {1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

/// From a checkpoint's tensor to the packed weight; args: source is bf16 (else f32), format, threads
void pack(benchmark::State& state) {
  const auto format = static_cast<WeightFormat>(state.range(1));
  const auto cpu = make_cpu_backend(static_cast<int>(state.range(2)));
  Tensor source = Tensor::from(normals(kInProj * kHidden), {kInProj, kHidden});
  if (state.range(0) != 0) source = source.to(DType::bf16);
  for (auto step : state) {
    static_cast<void>(step);
    benchmark::DoNotOptimize(cpu->pack_linear(source, format));
  }
  rate(state, "GB/s", static_cast<double>(source.nbytes()));
}
BENCHMARK(pack)
    ->ArgNames({"bf16", "format", "threads"})
    ->ArgsProduct({{1}, {kF32, kBf16, kF16, kQ8, kQ4}, {1, 2}})
    ->ArgsProduct({{0}, {kF32, kBf16, kF16}, {2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// The cost of one loop over both threads with next to no work in it; args: threads
void loop_overhead(benchmark::State& state) {
  const auto cpu = make_cpu_backend(static_cast<int>(state.range(0)));
  auto x = normals(64 * 4096);
  auto weight = normals(4096);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->rms_norm(matrix(x, 64, 1024), weight.data(), 1e-5f, matrix(x, 64, 1024));
  }
}
BENCHMARK(loop_overhead)->ArgName("threads")->Arg(1)->Arg(2)->Arg(8)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bamba::bench
