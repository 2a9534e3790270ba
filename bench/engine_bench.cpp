// The engine under load: a model of Bamba-9B's shape with q4 weights and BAMBA_BENCH_LAYERS (default 4) of its layers.
// "overhead": the share of the steps' time that is not the model's.
#include <bamba/engine.h>
#include <benchmark/benchmark.h>

#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>

namespace bamba {
namespace {

int64_t layers() {
  const char* text = std::getenv("BAMBA_BENCH_LAYERS");
  return text == nullptr ? 4 : std::max(1, std::atoi(text));
}

const BambaForCausalLM& model() {
  static const BambaForCausalLM loaded = [] {
    BambaConfig config;
    config.vocab_size = 128256;
    config.mamba_d_state = 128;
    config.num_hidden_layers = layers();
    config.attn_layer_indices = {config.num_hidden_layers - 1};
    config.eos_token_id.clear();
    InitOptions init;
    init.matrices = MatrixInit::repeated;
    RunOptions options;
    options.weights = WeightFormat::q4;
    return BambaForCausalLM::from_config(config, init, options);
  }();
  return loaded;
}

/// Counts requests that have ended.
class Counter {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++ended_;
    changed_.notify_one();
  }
  void wait_for(int64_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t ended_ = 0;
};

class Listener final : public EngineListener {
 public:
  explicit Listener(Counter& counter) : counter_(counter) {}
  void prompt_done(const EngineUsage& /*usage*/, const std::vector<TokenLogprob>& /*logprobs*/) override {}
  void token(const StreamEvent& /*event*/) override {}
  void sequence_finished(int64_t /*index*/, const GeneratedSequence& /*sequence*/) override {}
  void finished(const EngineUsage& /*usage*/) override { counter_.add(); }
  void failed(const Error& /*error*/) override { counter_.add(); }

 private:
  Counter& counter_;
};

/// range(0) requests at once, each of 64 prompt tokens and 32 new ones; range(1): drawn with top-k 50 and top-p 0.9,
/// or the likeliest.
void requests(benchmark::State& state) {
  EngineOptions options;
  options.max_sequences = 64;
  options.cache = false;
  options.running_bytes = size_t{4} << 30;
  Engine engine(model(), nullptr, options);
  const int64_t count = state.range(0);
  int64_t sent = 0;
  for (auto _ : state) {
    Counter counter;
    for (int64_t i = 0; i < count; ++i) {
      EngineRequest request;
      for (int64_t t = 0; t < 64; ++t) request.prompt_ids.push_back((sent * 977 + t * 131) % 128256);
      request.generation.max_new_tokens = 32;
      request.generation.do_sample = state.range(1) != 0;
      request.generation.top_p = 0.9;
      request.generation.seed = static_cast<uint64_t>(sent++);
      engine.submit(std::move(request), std::make_shared<Listener>(counter));
    }
    counter.wait_for(count);
  }
  const EngineMetrics metrics = engine.metrics();
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(metrics.generated_tokens), benchmark::Counter::kIsRate);
  state.counters["overhead_%"] = 100 * (metrics.step_seconds - metrics.model_seconds) / metrics.step_seconds;
  state.counters["overhead_us/step"] =
      1e6 * (metrics.step_seconds - metrics.model_seconds) / static_cast<double>(metrics.steps);
}
BENCHMARK(requests)
    ->ArgNames({"requests", "sampled"})
    ->ArgsProduct({{1, 4, 16}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bamba
