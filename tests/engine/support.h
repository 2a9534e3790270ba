// A listener that writes down what it hears, and a scheduler that tests drive step by step.
#pragma once

#include <bamba/engine.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "generation/script_model.h"

namespace bamba::test {

/// Calls come one at a time; read it when the request has ended.
class Heard : public EngineListener {
 public:
  void prompt_done(const EngineUsage& usage_, const std::vector<TokenLogprob>& logprobs) override {
    check_open();
    EXPECT_FALSE(prompt_read);
    prompt_read = true;
    prompt_logprobs = logprobs;
    usage_at_prompt = usage_;
  }
  void token(const StreamEvent& event) override {
    check_open();
    EXPECT_TRUE(prompt_read);
    EXPECT_EQ(event.prompt_index, 0);
    streamed[event.sequence_index].push_back(event.id);
    texts[event.sequence_index] += event.text;
  }
  void sequence_finished(int64_t index, const GeneratedSequence& sequence) override {
    check_open();
    EXPECT_EQ(sequences.count(index), 0U);
    sequences[index] = sequence;
    ending_order.push_back(index);
  }
  void finished(const EngineUsage& usage_) override {
    check_open();
    usage = usage_;
    done = true;
  }
  void failed(const Error& error_) override {
    check_open();
    error = error_;
  }

  bool ended() const { return done || error.has_value(); }
  size_t tokens() const {
    size_t total = 0;
    for (const auto& [index, ids] : streamed) total += ids.size();
    return total;
  }

  bool prompt_read = false;
  bool done = false;
  EngineUsage usage_at_prompt, usage;
  std::vector<TokenLogprob> prompt_logprobs;
  std::map<int64_t, Ids> streamed;
  std::map<int64_t, std::string> texts;
  std::map<int64_t, GeneratedSequence> sequences;
  std::vector<int64_t> ending_order;
  std::optional<Error> error;

 private:
  void check_open() const { EXPECT_FALSE(ended()) << "nothing may follow the last call"; }
};

inline void expect_same(const GeneratedSequence& got, const GeneratedSequence& wanted) {
  EXPECT_EQ(got.ids, wanted.ids);
  EXPECT_EQ(got.text, wanted.text);
  EXPECT_EQ(got.finish_reason, wanted.finish_reason);
  ASSERT_EQ(got.logprobs.size(), wanted.logprobs.size());
  for (size_t i = 0; i < got.logprobs.size(); ++i) {
    EXPECT_EQ(got.logprobs[i].logprob, wanted.logprobs[i].logprob) << i;
    EXPECT_EQ(got.logprobs[i].top, wanted.logprobs[i].top) << i;
  }
}

inline Ids numbered_prompt(int64_t length, int64_t start = 0, int64_t vocab = 32) {
  Ids ids;
  for (int64_t i = 0; i < length; ++i) ids.push_back((start + i * 7) % vocab);
  return ids;
}

/// Greedy, with no end but the length.
inline GenerationConfig greedy(int64_t new_tokens) {
  GenerationConfig config;
  config.max_new_tokens = new_tokens;
  return config;
}

constexpr int64_t kVocab = 32;

/// A scripted model with bounds: its forward throws out_of_memory while `fail_forwards` says so, and it checks that a
/// step keeps to step_tokens.
class BoundedModel final : public StepModel {
 public:
  BoundedModel()
      : inner(kVocab, [this](std::span<const int64_t> ids, std::span<float> logits) { script(ids, logits); }) {
    inner.pool = &pool;
  }
  int64_t vocab_size() const override { return kVocab; }
  int threads() const override { return inner.threads(); }
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) override {
    inner.parallel_for(tasks, body);
  }
  std::unique_ptr<StepState> new_state() override { return inner.new_state(); }
  std::unique_ptr<StepState> from_host(const HostSnapshot& snapshot) override {
    ++restored;
    return inner.from_host(snapshot);
  }
  size_t state_bytes(int64_t tokens) const override { return inner.state_bytes(tokens); }
  std::string state_layout() const override { return inner.state_layout(); }
  std::string identity() const override { return inner.identity(); }
  std::span<float> forward(std::span<const StepInput> inputs) override {
    count(inputs);
    return inner.forward(inputs);
  }
  std::span<const int64_t> forward_best(std::span<const StepInput> inputs) override {
    count(inputs);
    ++best_steps;
    return inner.forward_best(inputs);
  }

  bool draws_tokens() const override { return inner.draws_tokens(); }
  std::span<const int64_t> forward_drawn(std::span<const StepInput> inputs, std::span<const TokenDraw> draws) override {
    count(inputs);
    return inner.forward_drawn(inputs, draws);
  }

  ThreadPool pool{3};
  ScriptModel::Script script = hashed_logits();
  ScriptModel inner;
  int64_t step_tokens = 0;    // bound to check; 0: none
  int64_t fail_forwards = 0;  // so many calls throw out_of_memory
  int64_t best_steps = 0;
  int64_t restored = 0;
  std::vector<std::vector<int64_t>> steps;  // tokens of each input, call by call

 private:
  void count(std::span<const StepInput> inputs) {
    if (fail_forwards > 0) {
      --fail_forwards;
      throw Error(ErrorCode::out_of_memory, "scripted");
    }
    std::vector<int64_t> sizes;
    int64_t total = 0;
    for (const StepInput& input : inputs) {
      sizes.push_back(static_cast<int64_t>(input.ids.size()));
      total += sizes.back();
    }
    if (step_tokens > 0) {
      EXPECT_LE(total, step_tokens);
    }
    steps.push_back(std::move(sizes));
  }
};

struct Harness {
  explicit Harness(const SchedulerLimits& limits = {.running_bytes = 1 << 20}, StateCache* cache = nullptr,
                   TextTools tools_ = {})
      : tools(std::move(tools_)), limits_(limits), scheduler(model, tools, cache, limits, [this] { return now; }) {
    model.step_tokens = limits.step_tokens;
  }

  std::shared_ptr<Heard> submit(EngineRequest request) {
    auto heard = std::make_shared<Heard>();
    add(std::move(request), heard);
    return heard;
  }
  std::shared_ptr<Heard> submit(Ids prompt, GenerationConfig config, int priority = 0) {
    EngineRequest request;
    request.prompt_ids = std::move(prompt);
    request.generation = std::move(config);
    request.priority = priority;
    return submit(std::move(request));
  }
  uint64_t add(EngineRequest request, std::shared_ptr<EngineListener> listener) {
    auto job = make_job(std::move(request), std::move(listener), script_config(kVocab), tools);
    scheduler.check_fits(*job);
    job->number = ++last;
    job->submitted_at = now;
    if (job->request.timeout_seconds) job->deadline = now + *job->request.timeout_seconds;
    scheduler.add(std::move(job));
    return last;
  }

  /// One step of the engine, a second long.
  void advance() {
    scheduler.admit();
    check_bounds();
    scheduler.step();
    check_bounds();
    now += 1;
  }
  void run(int most = 100000) {
    while (!scheduler.idle() && most-- > 0) advance();
    EXPECT_TRUE(scheduler.idle());
  }
  GeneratedSequence alone(const Ids& prompt, const GenerationConfig& config) {
    ScriptModel one(kVocab, hashed_logits());
    return run_script(one, {prompt}, config, {}, tools).sequences.at(0);
  }

  double now = 0;
  TextTools tools;
  BoundedModel model;
  SchedulerLimits limits_;
  Scheduler scheduler;
  uint64_t last = 0;

 private:
  void check_bounds() {
    const EngineMetrics& metrics = scheduler.metrics();
    EXPECT_LE(metrics.sequences, limits_.max_sequences);
    EXPECT_LE(metrics.host_bytes, limits_.host_bytes);
    if (metrics.running > 1) {
      // A token that was just chosen is not in its state yet; room for it is made before the next step.
      EXPECT_LE(metrics.running_bytes, limits_.running_bytes + static_cast<size_t>(metrics.sequences) * 16);
    }
  }
};

}  // namespace bamba::test
