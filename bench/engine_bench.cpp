// The engine under load: a model of Bamba-9B's shape with q4 weights and BAMBA_BENCH_LAYERS (default 4) of its 32
// layers, on all processors or BAMBA_BENCH_THREADS threads.
#include <bamba/engine.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>

namespace bamba {
namespace {

int from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::max(1, std::atoi(text));
}

const BambaForCausalLM& model() {
  static const BambaForCausalLM loaded = [] {
    BambaConfig config;
    config.vocab_size = 128256;
    config.mamba_d_state = 128;
    config.num_hidden_layers = from_environment("BAMBA_BENCH_LAYERS", 4);
    config.attn_layer_indices.clear();
    for (const int64_t layer : {9, 18, 27}) {
      if (layer < config.num_hidden_layers) config.attn_layer_indices.push_back(layer);
    }
    if (config.attn_layer_indices.empty()) config.attn_layer_indices = {config.num_hidden_layers - 1};
    config.eos_token_id.clear();
    InitOptions init;
    init.matrices = MatrixInit::repeated;
    RunOptions options;
    options.weights = WeightFormat::q4;
    options.threads = from_environment("BAMBA_BENCH_THREADS", 0);
    return BambaForCausalLM::from_config(config, init, options);
  }();
  return loaded;
}

/// Requests that run at once: when all have ended, and how fast they write while no prompt is read.
class Load {
 public:
  explicit Load(int64_t count) : count_(count) {}

  void prompt_read() {
    const std::lock_guard lock(mutex_);
    ++prompts_read_;
  }
  /// A step begins with the token of the first request. From one such moment to the next whole steps are counted: the
  /// first after which all prompts are read, the last before a request has ended.
  void token(bool of_first) {
    const std::lock_guard lock(mutex_);
    if (of_first && prompts_read_ == count_ && ended_ == 0) {
      last_ = Clock::now();
      last_tokens_ = tokens_;
      if (first_tokens_ < 0) {
        first_ = last_;
        first_tokens_ = tokens_;
      }
    }
    ++tokens_;
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ++ended_;
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ >= count_; });
  }
  double decode_seconds() const { return std::chrono::duration<double>(last_ - first_).count(); }
  int64_t decode_tokens() const { return last_tokens_ - first_tokens_; }

 private:
  using Clock = std::chrono::steady_clock;

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t count_;
  int64_t prompts_read_ = 0;
  int64_t ended_ = 0;
  int64_t tokens_ = 0;
  Clock::time_point first_, last_;
  int64_t first_tokens_ = -1;
  int64_t last_tokens_ = -1;
};

class Listener final : public EngineListener {
 public:
  Listener(Load& load, bool first) : load_(load), first_(first) {}
  void prompt_done(const EngineUsage& /*usage*/, const std::vector<TokenLogprob>& /*logprobs*/) override {
    load_.prompt_read();
  }
  void token(const StreamEvent& /*event*/) override { load_.token(first_); }
  void sequence_finished(int64_t /*index*/, const GeneratedSequence& /*sequence*/) override {}
  void finished(const EngineUsage& /*usage*/) override { load_.end(); }
  void failed(const Error& /*error*/) override { load_.end(); }

 private:
  Load& load_;
  bool first_;
};

/// So many requests at once, each of `prompt` tokens and `reply` new ones, drawn with top-k 50 and top-p 0.9 where
/// `sampled`, or the likeliest. "tokens/s" counts new tokens over all the time, prompts included; "decode_tokens/s"
/// those of the steps in which all requests write and no prompt is read. "overhead_%" is the engine's share of the
/// time of steps: what is not the model's.
void requests(benchmark::State& state) {
  const int64_t count = state.range(0);
  const int64_t prompt = state.range(1);
  EngineOptions options;
  options.max_sequences = 64;
  options.cache = false;
  options.running_bytes = size_t{4} << 30;
  Engine engine(model(), nullptr, options);
  int64_t sent = 0;
  const auto run = [&](Load& load, int64_t reply) {
    for (int64_t i = 0; i < count; ++i) {
      EngineRequest request;
      for (int64_t t = 0; t < prompt; ++t) request.prompt_ids.push_back((sent * 977 + t * 131) % 128256);
      request.generation.max_new_tokens = reply;
      request.generation.do_sample = state.range(3) != 0;
      request.generation.top_k = 50;
      request.generation.top_p = 0.9;
      request.generation.seed = static_cast<uint64_t>(sent++);
      engine.submit(std::move(request), std::make_shared<Listener>(load, i == 0));
    }
    load.wait();
  };
  {
    // As in a server that has been up for a while, memory for states is there.
    Load load(count);
    run(load, 2);
  }
  const EngineMetrics before = engine.metrics();
  double decode_seconds = 0;
  int64_t decode_tokens = 0;
  for (auto _ : state) {
    Load load(count);
    run(load, state.range(2));
    decode_seconds += load.decode_seconds();
    decode_tokens += load.decode_tokens();
  }
  const EngineMetrics metrics = engine.metrics();
  const auto since = [&](auto member) { return static_cast<double>(metrics.*member - before.*member); };
  const double step_seconds = since(&EngineMetrics::step_seconds);
  const double overhead = step_seconds - since(&EngineMetrics::model_seconds);
  state.counters["tokens/s"] = benchmark::Counter(since(&EngineMetrics::generated_tokens), benchmark::Counter::kIsRate);
  state.counters["decode_tokens/s"] = static_cast<double>(decode_tokens) / decode_seconds;
  state.counters["overhead_%"] = 100 * overhead / step_seconds;
  state.counters["overhead_us/step"] = 1e6 * overhead / since(&EngineMetrics::steps);
}
BENCHMARK(requests)
    ->ArgNames({"requests", "prompt", "reply", "sampled"})
    ->ArgsProduct({{1, 4, 16}, {64}, {32}, {0, 1}})   // prompts weigh as much as replies
    ->ArgsProduct({{1, 4, 16}, {32}, {128}, {0, 1}})  // replies weigh most
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bamba
