// The machine's own limits, for reading the other benchmarks: memory read bandwidth and multiply-add peak.
#include <benchmark/benchmark.h>

#include <string>

#include "backend/backend.h"

namespace bamba::backend {
namespace {

void roof(benchmark::State& state) {
  const auto backend = make_cpu_backend(static_cast<int>(state.range(0)));
  MachineRoof best{};
  for (auto step : state) {
    static_cast<void>(step);
    best = backend->measure_roof();
  }
  state.SetLabel(std::string(cpu_target_name()));
  state.counters["GB/s"] = best.read_bytes_per_second / 1e9;
  state.counters["GFLOP/s"] = best.f32_flops_per_second / 1e9;
  state.counters["int8 GOP/s"] = best.int8_ops_per_second / 1e9;
}
BENCHMARK(roof)->ArgName("threads")->Arg(1)->Arg(2)->Iterations(1)->Repetitions(3)->UseRealTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace bamba::backend
