// Greedy search and sampling over scripted logits: lengths, stops, company, seeds, states, streaming, errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "generation/script_model.h"
#include "support/error.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using test::expect_error;
using test::hashed_logits;
using test::Ids;
using test::run_script;
using test::sampling;
using test::ScriptModel;

constexpr int64_t kVocab = 40;

Ids last_is(int64_t token, size_t count) {
  return Ids(count, token);
}

/// After token t comes (t + 1) modulo the vocabulary.
ScriptModel counting_model(int64_t vocab = kVocab) {
  return ScriptModel(vocab, [](std::span<const int64_t> ids, std::span<float> logits) {
    logits[static_cast<size_t>(ids.back() + 1) % logits.size()] = 5;
  });
}

TEST(Decode, LengthsEosAndLeavingTheBatch) {
  ScriptModel model = counting_model();
  GenerationConfig config;
  config.eos_token_id = {7, 30};
  config.max_new_tokens = 6;
  const auto result = run_script(model, {{3}, {1, 20}, {28}}, config);
  ASSERT_EQ(result.sequences.size(), 3U);
  EXPECT_EQ(result.sequences[0].ids, (Ids{4, 5, 6, 7}));
  EXPECT_EQ(result.sequences[0].finish_reason, FinishReason::eos);
  EXPECT_EQ(result.sequences[1].ids, (Ids{21, 22, 23, 24, 25, 26}));
  EXPECT_EQ(result.sequences[1].finish_reason, FinishReason::length);
  EXPECT_EQ(result.sequences[2].ids, (Ids{29, 30}));
  EXPECT_EQ(result.sequences[2].prompt_index, 2);
  EXPECT_EQ(model.batch_sizes, (std::vector<size_t>{3, 3, 2, 2, 1, 1}));
  EXPECT_EQ(result.timing.prompt_tokens, 4);
  EXPECT_EQ(result.timing.new_tokens, 12);
  EXPECT_GE(result.timing.time_to_first_token, result.timing.prompt_seconds);
}

TEST(Decode, MaxLengthCountsThePromptAndDefaultsTo256New) {
  GenerationConfig config;
  config.max_length = 5;
  EXPECT_EQ(run_script(counting_model(), {{0, 1}}, config).sequences[0].ids.size(), 3U);
  config.max_new_tokens = 7;
  EXPECT_EQ(run_script(counting_model(), {{0, 1}}, config).sequences[0].ids.size(), 7U);
  EXPECT_EQ(run_script(counting_model(), {{0, 1}}, {}).sequences[0].ids.size(), 256U);
  config.max_new_tokens.reset();
  config.max_length = 2;
  EXPECT_THROW(run_script(counting_model(), {{0, 1}}, config), Error);
}

TEST(Decode, EmptyPromptStartsFromBos) {
  GenerationConfig config;
  config.max_new_tokens = 1;
  EXPECT_THROW(run_script(counting_model(), {{}}, config), Error);
  config.bos_token_id = 8;
  EXPECT_EQ(run_script(counting_model(), {{}}, config).sequences[0].ids, Ids{9});
  EXPECT_TRUE(run_script(counting_model(), {}, config).sequences.empty());
}

TEST(Decode, Processors) {
  GenerationConfig config;
  config.max_new_tokens = 4;
  config.eos_token_id = {2};
  config.min_new_tokens = 3;
  // Token 2 follows 1 but may not end before the third: the lowest of the equals, 0, comes instead.
  EXPECT_EQ(run_script(counting_model(), {{1}}, config).sequences[0].ids, (Ids{0, 1, 0, 1}));
  config.min_new_tokens.reset();
  config.min_length = 3;
  EXPECT_EQ(run_script(counting_model(), {{1}}, config).sequences[0].ids, (Ids{0, 1, 2}));
  config.min_length.reset();
  config.eos_token_id.clear();
  config.bad_words_ids = {{5}, {7, 8}};
  EXPECT_EQ(run_script(counting_model(), {{4}}, config).sequences[0].ids, (Ids{0, 1, 2, 3}));
  EXPECT_EQ(run_script(counting_model(), {{6}}, config).sequences[0].ids, (Ids{7, 0, 1, 2}));
  config.eos_token_id = {5};  // the end is never a bad word
  EXPECT_EQ(run_script(counting_model(), {{4}}, config).sequences[0].ids, Ids{5});
  config = {};
  config.max_new_tokens = 3;
  config.logit_bias = {{9, 6.0}};
  EXPECT_EQ(run_script(counting_model(), {{1}}, config).sequences[0].ids, (Ids{9, 9, 9}));
  config.presence_penalty = 3;
  EXPECT_EQ(run_script(counting_model(), {{1}}, config).sequences[0].ids, (Ids{9, 10, 11}));
  config.presence_penalty = 0;
  config.frequency_penalty = 0.75;  // 6, 5.25, 4.5 < 5
  EXPECT_EQ(run_script(counting_model(), {{9}}, config).sequences[0].ids, (Ids{9, 9, 10}));
  config = {};
  config.max_new_tokens = 3;
  config.forced_bos_token_id = 30;
  config.forced_eos_token_id = {11, 12};
  EXPECT_EQ(run_script(counting_model(), {{1}}, config).sequences[0].ids, (Ids{30, 31, 11}));
  EXPECT_EQ(run_script(counting_model(), {{1, 2}}, config).sequences[0].ids, (Ids{3, 4, 11}));
}

TEST(Decode, PenaltiesOfTheGeneratedDoNotSeeThePrompt) {
  GenerationConfig config;
  config.max_new_tokens = 2;
  config.presence_penalty = 100;
  const auto stay = [](std::span<const int64_t>, std::span<float> logits) { logits[3] = 2, logits[4] = 1; };
  EXPECT_EQ(run_script(ScriptModel(kVocab, stay), {{3, 4}}, config).sequences[0].ids, (Ids{3, 4}));
  config.presence_penalty = 0;
  config.repetition_penalty = 3;  // does see it: 2/3 and 1/3 remain the best, then
  EXPECT_EQ(run_script(ScriptModel(kVocab, stay), {{3}}, config).sequences[0].ids, (Ids{4, 3}));
}

TEST(Decode, UserProcessorsComeAfterTheBuiltInOnes) {
  GenerationConfig config;
  config.max_new_tokens = 3;
  config.bad_words_ids = {{5}};
  GenerateOptions options;
  size_t calls = 0;
  options.processors.emplace_back([&](std::span<const int64_t> ids, std::span<float> scores) {
    EXPECT_EQ(ids.size(), 1 + calls++);
    EXPECT_EQ(scores[5], -std::numeric_limits<float>::infinity());
    std::ranges::fill(scores, 0.0F);
    scores[20 + calls] = 1;
  });
  EXPECT_EQ(run_script(counting_model(), {{4}}, config, options).sequences[0].ids, (Ids{21, 22, 23}));
}

TEST(Decode, BrokenNumbersAreErrorsThatSayWhere) {
  const auto broken = [](float value) {
    return ScriptModel(kVocab, [value](std::span<const int64_t> ids, std::span<float> logits) {
      if (ids.size() == 4) logits[7] = value;
      logits[3] = 1;
    });
  };
  GenerationConfig config;
  config.max_new_tokens = 5;
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    expect_error(ErrorCode::non_finite, {"token 7", "step 2 of prompt 0, sequence 0"}, [&] {
      run_script(broken(value), {{1, 1}}, config);
    });
  }
  config.remove_invalid_values = true;
  EXPECT_EQ(run_script(broken(NAN), {{1, 1}}, config).sequences[0].ids, last_is(3, 5));
  EXPECT_EQ(run_script(broken(INFINITY), {{1, 1}}, config).sequences[0].ids, (Ids{3, 3, 7, 3, 3}));

  config = {};
  GenerateOptions options;
  options.processors.emplace_back([](std::span<const int64_t>, std::span<float> scores) { scores[0] = NAN; });
  EXPECT_THROW(run_script(counting_model(), {{1}}, config, options), Error);
  options.processors[0] = [](std::span<const int64_t>, std::span<float> scores) {
    std::ranges::fill(scores, -std::numeric_limits<float>::infinity());
  };
  EXPECT_THROW(run_script(counting_model(), {{1}}, config, options), Error);
  options.processors[0] = nullptr;
  EXPECT_THROW(run_script(counting_model(), {{1}}, config, options), Error);
}

TEST(Decode, BadArgumentsAreErrors) {
  GenerationConfig config;
  EXPECT_THROW(run_script(counting_model(), {{1, kVocab}}, config), Error);
  EXPECT_THROW(run_script(counting_model(), {{-1}}, config), Error);
  config.stop_strings = {"x"};
  EXPECT_THROW(run_script(counting_model(), {{1}}, config), Error);  // without a tokenizer
  config = {};
  std::vector<std::unique_ptr<StepState>> states;
  states.push_back(std::make_unique<test::ScriptState>());
  ScriptModel model = counting_model();
  EXPECT_THROW(run_script(model, {{1}, {2}}, config, {}, {}, std::move(states)), Error);
}

TEST(Sampling, SameSeedSameTextInAnyCompany) {
  const std::vector<Ids> prompts = {{1, 2, 3}, {4}, {5, 6}};
  const auto together = run_script(ScriptModel(kVocab, hashed_logits()), prompts, sampling(20));
  const auto again = run_script(ScriptModel(kVocab, hashed_logits()), prompts, sampling(20));
  const auto other = run_script(ScriptModel(kVocab, hashed_logits()), prompts, sampling(20, 2));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(together.sequences[i].ids, again.sequences[i].ids);
    EXPECT_NE(together.sequences[i].ids, other.sequences[i].ids);
  }
  // The place in the batch is part of the key; who else is there is not.
  const auto alone = run_script(ScriptModel(kVocab, hashed_logits()), {prompts[0]}, sampling(20));
  EXPECT_EQ(alone.sequences[0].ids, together.sequences[0].ids);
  const auto company = run_script(ScriptModel(kVocab, hashed_logits()), {{9}, prompts[1]}, sampling(20));
  EXPECT_EQ(company.sequences[1].ids, together.sequences[1].ids);
}

TEST(Sampling, ReturnSequencesDifferAndTheFirstIsTheSingleOne) {
  GenerationConfig config = sampling(15);
  config.num_return_sequences = 4;
  ScriptModel model(kVocab, hashed_logits());
  const auto result = run_script(model, {{1, 2}, {3}}, config);
  ASSERT_EQ(result.sequences.size(), 8U);
  EXPECT_EQ(model.batch_sizes[0], 2U) << "each prompt is read once";
  EXPECT_EQ(model.batch_sizes[1], 8U);
  for (size_t i = 1; i < 4; ++i) EXPECT_NE(result.sequences[0].ids, result.sequences[i].ids);
  const auto single = run_script(ScriptModel(kVocab, hashed_logits()), {{1, 2}, {3}}, sampling(15));
  EXPECT_EQ(result.sequences[0].ids, single.sequences[0].ids);
  EXPECT_EQ(result.sequences[4].ids, single.sequences[1].ids);
  // Every token was chosen after the very tokens before it: states did not mix.
  config.num_return_sequences = 3;
  const auto fewer = run_script(ScriptModel(kVocab, hashed_logits()), {{1, 2}}, config);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(fewer.sequences[i].ids, result.sequences[i].ids);
}

TEST(Sampling, TinyTemperatureAndTopKOneAreGreedy) {
  GenerationConfig greedy;
  greedy.max_new_tokens = 20;
  const auto want = run_script(ScriptModel(kVocab, hashed_logits()), {{1}}, greedy).sequences[0].ids;
  GenerationConfig cold = sampling(20);
  cold.temperature = 1e-6;
  EXPECT_EQ(run_script(ScriptModel(kVocab, hashed_logits()), {{1}}, cold).sequences[0].ids, want);
  GenerationConfig one = sampling(20);
  one.top_k = 1;
  EXPECT_EQ(run_script(ScriptModel(kVocab, hashed_logits()), {{1}}, one).sequences[0].ids, want);
}

TEST(Logprobs, AreThoseOfTheProcessedScores) {
  for (const bool sample : {false, true}) {
    GenerationConfig config = sampling(5);
    config.do_sample = sample;
    config.temperature = 0.5;  // no part of the log-probabilities
    config.output_logprobs = true;
    config.top_logprobs = 3;
    config.bad_words_ids = {{2}};
    const Ids prompt = {1};
    const auto result = run_script(ScriptModel(kVocab, hashed_logits()), {prompt}, config);
    Ids ids = prompt;
    ASSERT_EQ(result.sequences[0].logprobs.size(), 5U);
    for (size_t i = 0; i < 5; ++i) {
      std::vector<float> logits(kVocab);
      hashed_logits()(ids, logits);
      double sum = 0;
      for (size_t t = 0; t < logits.size(); ++t) sum += t == 2 ? 0 : std::exp(double{logits[t]});
      const TokenLogprob& got = result.sequences[0].logprobs[i];
      const int64_t token = result.sequences[0].ids[i];
      // Only the order of f64 additions differs.
      EXPECT_NEAR(got.logprob, logits[static_cast<size_t>(token)] - std::log(sum), 1e-12);
      ASSERT_EQ(got.top.size(), 3U);
      EXPECT_GE(got.top[0].second, got.top[1].second);
      if (!sample) {
        EXPECT_EQ(got.top[0], (std::pair{token, got.logprob}));
      }
      ids.push_back(token);
    }
  }
}

TEST(Prefill, AnyChunkSizeIsTheSame) {
  const std::vector<Ids> prompts = {{1, 2, 3, 4, 5, 6, 7}, {8}, {9, 10, 11}};
  GenerationConfig config = sampling(10);
  const auto want = run_script(ScriptModel(kVocab, hashed_logits()), prompts, config);
  for (int64_t chunk = 1; chunk <= 8; ++chunk) {
    config.prefill_chunk_size = chunk;
    std::vector<std::pair<int64_t, int64_t>> progress;
    GenerateOptions options;
    options.prompt_progress = [&](int64_t done, int64_t total) { progress.emplace_back(done, total); };
    ScriptModel model(kVocab, hashed_logits());
    const auto got = run_script(model, prompts, config, options);
    for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(got.sequences[i].ids, want.sequences[i].ids) << chunk;
    ASSERT_EQ(progress.size(), static_cast<size_t>((7 + chunk - 1) / chunk));
    EXPECT_TRUE(std::ranges::is_sorted(progress));
    EXPECT_EQ(progress.back(), (std::pair<int64_t, int64_t>{11, 11}));
    EXPECT_EQ(got.timing.prompt_tokens, 11);
  }
}

/// A state that the test keeps: what ModelState does for the caller's SequenceState.
class BorrowedState final : public StepState {
 public:
  explicit BorrowedState(Ids& ids) : ids_(ids) {}
  int64_t length() const override { return static_cast<int64_t>(ids_.size()); }
  std::unique_ptr<StepState> fork() const override {
    auto copy = std::make_unique<test::ScriptState>();
    copy->ids = ids_;
    return copy;
  }
  void visit_memory(FunctionRef<void(const void* address, size_t bytes)> visit) const override {
    visit(ids_.data(), ids_.size() * sizeof(int64_t));
  }
  HostSnapshot to_host() const override { return {}; }

 private:
  Ids& ids_;
};

TEST(States, ContinueWhereTheyStand) {
  const Ids prompt = {1, 2, 3, 4};
  GenerationConfig config = sampling(6);
  const auto want = run_script(ScriptModel(kVocab, hashed_logits()), {prompt}, config).sequences[0].ids;
  for (size_t held = 0; held < prompt.size(); ++held) {
    auto state = std::make_unique<test::ScriptState>();
    state->ids.assign(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(held));
    std::vector<std::unique_ptr<StepState>> states;
    states.push_back(std::move(state));
    ScriptModel model(kVocab, hashed_logits());
    const auto got = run_script(model, {prompt}, config, {}, {}, std::move(states));
    EXPECT_EQ(got.sequences[0].ids, want) << held;
    EXPECT_EQ(got.timing.prompt_tokens, static_cast<int64_t>(prompt.size() - held));
  }
}

TEST(States, SharedOnesAreForkedAndFullOnesRefused) {
  Ids held = {1, 2};
  GenerationConfig config = sampling(3);
  config.num_return_sequences = 2;
  for (const int64_t beams : {1, 2}) {
    config.num_beams = beams;
    std::vector<std::unique_ptr<StepState>> states;
    states.push_back(std::make_unique<BorrowedState>(held));
    ScriptModel model(kVocab, hashed_logits());
    run_script(model, {{1, 2, 3}}, config, {}, {}, std::move(states));
    EXPECT_EQ(held, (Ids{1, 2}));
  }
  std::vector<std::unique_ptr<StepState>> states;
  states.push_back(std::make_unique<BorrowedState>(held));
  ScriptModel model(kVocab, hashed_logits());
  expect_error(ErrorCode::invalid_argument, {"at least one token"}, [&] {
    run_script(model, {{1, 2}}, config, {}, {}, std::move(states));
  });
}

}  // namespace
}  // namespace bamba
