#include "backend/cpu/roofline.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "backend/cpu/int8_peak.h"
#include "backend/cpu/targets.h"
#include "base/stopwatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/roofline.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

/// Sum of n floats, n a multiple of 128: eight chains, so that adding never waits.
float sum_floats(const float* data, int64_t n) {
  const F32 d;
  constexpr int64_t kChains = 8;
  VecF32 sums[kChains];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (int64_t i = 0; i < n; i += kChains * kLanes) {
    for (int64_t c = 0; c < kChains; ++c) sums[c] = hn::Add(sums[c], hn::LoadU(d, data + i + c * kLanes));
  }
  float total = 0;
  for (const auto& sum : sums) total += hn::GetLane(hn::SumOfLanes(d, sum));
  return total;
}

// Enough independent chains to hide the latency of a multiply-add, few enough for the registers.
constexpr int kFmaChains = kLanes == 16 ? 24 : 12;

float chain_fmas(int64_t rounds) {
  const F32 d;
  VecF32 chains[kFmaChains];
  // All different, or the compiler would compute one for all.
  BAMBA_UNROLL
  for (int c = 0; c < kFmaChains; ++c) chains[c] = hn::Set(d, 1.0f + 0.01f * static_cast<float>(c));
  const auto factor = hn::Set(d, 0.999f);
  const auto term = hn::Set(d, 0.001f);
  for (int64_t i = 0; i < rounds; ++i) {
    BAMBA_UNROLL
    for (auto& chain : chains) chain = hn::MulAdd(chain, factor, term);
  }
  float total = 0;
  BAMBA_UNROLL
  for (const auto& chain : chains) total += hn::GetLane(chain);
  return total;
}

double fma_flops(int64_t rounds) {
  return 2.0 * static_cast<double>(rounds) * kFmaChains * static_cast<double>(kLanes);
}

int64_t chosen_target() {
  return HWY_TARGET;
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(sum_floats);
HWY_EXPORT(chain_fmas);
HWY_EXPORT(fma_flops);
HWY_EXPORT(chosen_target);

namespace cpu {
namespace {

/// Seconds of each call, the fastest first. Others may use the processor and its memory for a while, so calls go on for
/// a fifth of a second, but for at least seven.
template <typename Body>
std::vector<double> sorted_seconds(Body body) {
  constexpr size_t kCalls = 7;
  constexpr double kLongEnough = 0.2;
  const Stopwatch all;
  std::vector<double> seconds;
  while (seconds.size() < kCalls || all.seconds() < kLongEnough) {
    const Stopwatch one;
    body();
    seconds.push_back(one.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

/// Where results go, so that no loop is optimised away.
void consume(float value) {
  [[maybe_unused]] static volatile float sink;
  sink = value;
}

constexpr int64_t kAlwaysParallel = int64_t{1} << 40;
constexpr int64_t kRounds = 20'000;

/// Operations a second of all threads in the best of several runs, where body(task) does `operations`.
template <typename Body>
double best_rate(Context& context, int64_t tasks, double operations, Body body) {
  const double seconds = sorted_seconds([&] {
                           context.parallel(tasks, kAlwaysParallel, [&](int64_t task, Scratch&) { body(task); });
                         }).front();
  return static_cast<double>(tasks) * operations / seconds;
}

}  // namespace

double measure_read_bandwidth(Context& context) {
  constexpr int64_t kTaskFloats = int64_t{1} << 18;  // 1 MiB
  constexpr int64_t kTasks = 512;  // a cache of 32 MiB still serves a part of 256 MiB read over and over
  Scratch memory;
  float* data = memory.floats(kTaskFloats * kTasks);
  context.parallel(kTasks, kAlwaysParallel,
                   [&](int64_t task, Scratch&) { std::fill_n(data + task * kTaskFloats, kTaskFloats, 1.0f); });
  std::vector<float> sums(kTasks);
  const std::vector<double> seconds = sorted_seconds([&] {
    context.parallel(kTasks, kAlwaysParallel, [&](int64_t task, Scratch&) {
      sums[static_cast<size_t>(task)] = HWY_DYNAMIC_DISPATCH(sum_floats)(data + task * kTaskFloats, kTaskFloats);
    });
  });
  for (const float value : sums) consume(value);
  // The median: where other machines use the memory too, the best pass is more than a step of a model can count on.
  return static_cast<double>(kTasks * kTaskFloats) * sizeof(float) / seconds[seconds.size() / 2];
}

double measure_fma_peak(Context& context) {
  const int64_t tasks = int64_t{16} * context.pool.size();
  std::vector<float> sums(static_cast<size_t>(tasks));
  const double peak = best_rate(context, tasks, HWY_DYNAMIC_DISPATCH(fma_flops)(kRounds), [&](int64_t task) {
    sums[static_cast<size_t>(task)] = HWY_DYNAMIC_DISPATCH(chain_fmas)(kRounds);
  });
  for (const float value : sums) consume(value);
  return peak;
}

double measure_int8_peak(Context& context) {
  const Int8Peak& peak = best_int8_peak();
  return best_rate(context, int64_t{16} * context.pool.size(), static_cast<double>(kRounds * peak.ops_per_round),
                   [&](int64_t) { peak.run(kRounds); });
}

}  // namespace cpu

std::string_view cpu_target_name() {
  // Highway's names are the usual ones but for AVX-512, which it calls AVX3.
  const int64_t target = HWY_DYNAMIC_DISPATCH(chosen_target)();
  return target == HWY_AVX3 ? "AVX-512" : hwy::TargetName(target);
}

}  // namespace bamba::backend
#endif
