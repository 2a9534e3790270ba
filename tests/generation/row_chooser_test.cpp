// The tokens of a step, chosen on several threads: each as if its row were alone.
#include "generation/row_chooser.h"

#include <gtest/gtest.h>

#include <limits>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>

#include "generation/script_model.h"

namespace bamba::test {
namespace {

constexpr size_t kWide = 5000;  // that the few best are found by blocks

Sequence sequence_of(int64_t index, Ids ids) {
  static const TextTools tools;
  static const StopRules rules;
  return new_sequence(TextStream(tools, rules), 0, index, std::move(ids), 1000);
}

std::vector<float> row_of(int64_t seed) {
  std::vector<float> row(kWide);
  const Ids ids = {seed};
  hashed_logits()(ids, row);
  return row;
}

/// Choices of one step, all threads taking part.
class Step {
 public:
  explicit Step(int threads) : pool_(threads), model_(kWide, hashed_logits()) { model_.pool = &pool_; }
  size_t add(Chooser& chooser, std::span<const Sequence> sequences, std::vector<float>& row) {
    return rows_.add(chooser, sequences, row);
  }
  void choose() { rows_.choose(model_); }
  void start() { rows_.start(); }
  Choice& choice(size_t place) { return rows_.choice(place); }
  std::string error(size_t place) {
    try {
      if (choice(place).error) std::rethrow_exception(choice(place).error);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "";
  }

 private:
  ThreadPool pool_;
  ScriptModel model_;
  RowChooser rows_;
};

TEST(RowChooser, EveryRowIsChosenFromAsIfItWereAlone) {
  // Each with settings of its own: what one row leaves in a thread's memory must not reach the next.
  std::vector<GenerationConfig> configs;
  for (int i = 0; i < 60; ++i) {
    GenerationConfig config = i % 5 == 0 ? GenerationConfig() : sampling(10, static_cast<uint64_t>(i));
    config.top_k = i % 3 == 0 ? 0 : 5 * i;
    config.top_p = i % 4 == 0 ? 1.0 : 0.9;
    config.temperature = 0.5 + 0.05 * i;
    if (i % 7 == 0) config.repetition_penalty = 1.4;
    if (i % 6 == 0) config.output_logprobs = true;
    config.top_logprobs = config.output_logprobs ? i % 4 : 0;
    configs.push_back(config);
  }
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < 60; ++i) sequences.push_back(sequence_of(i, {i, i + 1, 4000 - i}));
  const auto choices = [&](int threads, size_t together) {
    std::vector<Choice> out;
    Step step(threads);
    for (size_t first = 0; first < configs.size(); first += together) {
      step.start();
      std::vector<std::unique_ptr<Chooser>> choosers;
      std::vector<std::vector<float>> rows;
      rows.reserve(together);
      for (size_t i = first; i < first + together; ++i) {
        choosers.push_back(std::make_unique<Chooser>(configs[i], std::span<const LogitsProcessor>()));
        rows.push_back(row_of(static_cast<int64_t>(i)));
        step.add(*choosers.back(), std::span(sequences).subspan(i, 1), rows.back());
      }
      step.choose();
      for (size_t i = 0; i < together; ++i) out.push_back(step.choice(i));
    }
    return out;
  };
  const auto alone = choices(1, 1);
  for (const int threads : {1, 4}) {
    const auto together = choices(threads, 60);
    for (size_t i = 0; i < configs.size(); ++i) {
      ASSERT_FALSE(together[i].error) << i;
      EXPECT_EQ(together[i].token, alone[i].token) << i;
      ASSERT_EQ(together[i].logprob.has_value(), configs[i].output_logprobs) << i;
      if (!together[i].logprob) continue;
      EXPECT_EQ(together[i].logprob->logprob, alone[i].logprob->logprob) << i;
      EXPECT_EQ(together[i].logprob->top, alone[i].logprob->top) << i;
    }
  }
}

TEST(RowChooser, SequencesOfOneRowDrawForThemselves) {
  const GenerationConfig config = sampling(10, 3);
  Chooser chooser(config, {});
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < 20; ++i) sequences.push_back(sequence_of(i, {7}));
  auto row = row_of(1);
  Step together(2);
  EXPECT_EQ(together.add(chooser, sequences, row), 0U);
  together.choose();
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < sequences.size(); ++i) {
    auto own = row_of(1);
    Step alone(1);
    alone.add(chooser, std::span(sequences).subspan(i, 1), own);
    alone.choose();
    tokens.push_back(together.choice(i).token);
    EXPECT_EQ(tokens.back(), alone.choice(0).token) << i;
  }
  EXPECT_GT(std::ranges::count_if(tokens, [&](int64_t token) { return token != tokens[0]; }), 0);
}

TEST(RowChooser, CallersProcessorsRunOnTheCallingThreadInTheOrderOfRows) {
  const GenerationConfig config = sampling(10, 3);
  std::vector<int64_t> called;
  const std::vector<LogitsProcessor> processors = {[&](std::span<const int64_t> ids, std::span<float> scores) {
    static const auto thread = std::this_thread::get_id();
    EXPECT_EQ(std::this_thread::get_id(), thread);
    called.push_back(ids[0]);
    std::ranges::fill(scores, -std::numeric_limits<float>::infinity());
    scores[static_cast<size_t>(ids[0] * 10)] = 1;
  }};
  Chooser with(config, processors);
  Chooser without(config, {});
  std::vector<Sequence> sequences;
  for (int64_t i = 0; i < 40; ++i) sequences.push_back(sequence_of(0, {i}));
  std::vector<std::vector<float>> rows;
  for (int64_t i = 0; i < 40; ++i) rows.push_back(row_of(i));
  Step step(4);
  for (size_t i = 0; i < 40; ++i) step.add(i % 2 == 0 ? with : without, std::span(sequences).subspan(i, 1), rows[i]);
  step.choose();
  ASSERT_EQ(called.size(), 20U);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(called[i], static_cast<int64_t>(2 * i));
    EXPECT_EQ(step.choice(2 * i).token, static_cast<int64_t>(20 * i));
  }
}

TEST(RowChooser, WhatFailsIsItsOwnRowsError) {
  const GenerationConfig config = sampling(10, 3);
  const std::vector<LogitsProcessor> processors = {[](std::span<const int64_t> ids, std::span<float> scores) {
    if (ids[0] == 3) throw std::runtime_error("not this one");
    if (ids[0] == 6) std::ranges::fill(scores, -std::numeric_limits<float>::infinity());
  }};
  Chooser with(config, processors);
  Chooser without(config, {});
  std::vector<Sequence> sequences;
  std::vector<std::vector<float>> rows;
  for (int64_t i = 0; i < 10; ++i) {
    sequences.push_back(sequence_of(0, {i}));
    rows.push_back(row_of(i));
  }
  rows[1][77] = std::numeric_limits<float>::quiet_NaN();  // of a row without a caller's processor
  rows[9][78] = std::numeric_limits<float>::infinity();   // of one with it
  Step step(4);
  for (size_t i = 0; i < 10; ++i) {
    step.add(i % 3 == 0 ? with : without, std::span(sequences).subspan(i, 1), rows[i]);
  }
  step.choose();
  EXPECT_NE(step.error(1).find("for token 77"), std::string::npos) << step.error(1);
  EXPECT_EQ(step.error(3), "not this one");
  EXPECT_NE(step.error(6).find("forbid every token"), std::string::npos) << step.error(6);
  EXPECT_NE(step.error(9).find("for token 78"), std::string::npos) << step.error(9);
  for (const size_t good : {0U, 2U, 4U, 5U, 7U, 8U}) {
    EXPECT_EQ(step.error(good), "");
    EXPECT_GE(step.choice(good).token, 0);
  }
  // The next step knows nothing of it.
  step.start();
  auto again = row_of(1);
  step.add(without, std::span(sequences).first(1), again);
  step.choose();
  EXPECT_EQ(step.error(0), "");
}

}  // namespace
}  // namespace bamba::test
