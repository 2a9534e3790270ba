// Choosing one token from a vocabulary of 128,256 (Bamba-9B's), as the decode loop does it for each sequence.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "generation/processors.h"
#include "generation/random.h"
#include "generation/sampler.h"
#include "generation/warpers.h"

namespace bamba {
namespace {

constexpr size_t kVocab = 128256;

std::vector<float> logits() {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> out(kVocab);
  for (float& logit : out) logit = normal(rng);
  return out;
}

/// The copy of the logits is part of what is timed.
void sample(benchmark::State& state, const WarperSettings& settings) {
  const auto original = logits();
  auto row = original;
  Warpers warpers(settings);
  Sampler sampler;
  int64_t step = 0;
  for (auto _ : state) {
    std::ranges::copy(original, row.begin());
    const auto kept = warpers.apply(row);
    sampler.set(kept);
    benchmark::DoNotOptimize(kept[sampler.draw(uniform_draw(1, 0, 0, step++))].id);
  }
}

void greedy(benchmark::State& state) {
  const auto row = logits();
  for (auto _ : state) benchmark::DoNotOptimize(greedy_token(row));
}

void finite_check(benchmark::State& state) {
  const auto row = logits();
  for (auto _ : state) benchmark::DoNotOptimize(all_finite(row));
}

void processors(benchmark::State& state) {
  GenerationConfig config;
  config.repetition_penalty = 1.2;
  config.frequency_penalty = 0.1;
  config.no_repeat_ngram_size = 3;
  std::vector<int64_t> ids(static_cast<size_t>(state.range(0)));
  std::mt19937 rng(2);
  for (int64_t& id : ids) id = static_cast<int64_t>(rng() % kVocab);
  ProcessorChain chain(config, {});
  auto row = logits();
  for (auto _ : state) chain.apply(ids, ids.size() / 2, 1 << 30, row);
}

BENCHMARK(greedy);
BENCHMARK(finite_check);
BENCHMARK(processors)->Arg(1000)->Arg(32000);
BENCHMARK_CAPTURE(sample, top_k_50, WarperSettings{.temperature = 0.8, .top_k = 50});
BENCHMARK_CAPTURE(sample, top_k_50_top_p_95, WarperSettings{.temperature = 0.8, .top_k = 50, .top_p = 0.95});
BENCHMARK_CAPTURE(sample, top_p_95, WarperSettings{.temperature = 0.8, .top_p = 0.95});
BENCHMARK_CAPTURE(sample, min_p_5, WarperSettings{.temperature = 0.8, .min_p = 0.05});
BENCHMARK_CAPTURE(sample, typical_p_90, WarperSettings{.temperature = 0.8, .typical_p = 0.9});
BENCHMARK_CAPTURE(sample, all, WarperSettings{.temperature = 0.8});

}  // namespace
}  // namespace bamba
