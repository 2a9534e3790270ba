// Beam search beyond the goldens: against exhaustive search, batches, stop strings, log-probabilities, sampling.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "generation/script_model.h"

namespace bamba {
namespace {

using test::hashed_logits;
using test::Ids;
using test::run_script;
using test::ScriptModel;

std::vector<double> log_softmax(std::span<const int64_t> ids, size_t vocab) {
  std::vector<float> logits(vocab);
  hashed_logits()(ids, logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  std::vector<double> out;
  for (const float logit : logits) out.push_back(double{logit} - std::log(sum));
  return out;
}

/// Every sequence that ends with eos or at max_new tokens, with its score.
void enumerate(Ids& ids, size_t prompt, size_t vocab, int64_t eos, size_t max_new, double sum, double penalty,
               std::vector<std::pair<double, Ids>>& out) {
  const size_t made = ids.size() - prompt;
  if (made == max_new || (made > 0 && ids.back() == eos)) {
    out.emplace_back(sum / std::pow(static_cast<double>(made), penalty),
                     Ids(ids.begin() + static_cast<std::ptrdiff_t>(prompt), ids.end()));
    return;
  }
  const auto logprobs = log_softmax(ids, vocab);
  for (size_t token = 0; token < vocab; ++token) {
    ids.push_back(static_cast<int64_t>(token));
    enumerate(ids, prompt, vocab, eos, max_new, sum + logprobs[token], penalty, out);
    ids.pop_back();
  }
}

TEST(BeamSearch, EnoughBeamsFindTheBestOfAll) {
  constexpr size_t kVocab = 4;
  constexpr size_t kNew = 4;
  for (const double penalty : {0.0, 1.0, 2.0, -1.0}) {
    for (int64_t start = 0; start < 4; ++start) {
      Ids ids = {start, 1};
      std::vector<std::pair<double, Ids>> all;
      enumerate(ids, 2, kVocab, 2, kNew, 0, penalty, all);
      std::ranges::sort(all, std::greater<>(), &std::pair<double, Ids>::first);
      GenerationConfig config;
      config.max_new_tokens = kNew;
      config.num_beams = 300;  // more than there are sequences: nothing is ever dropped
      config.num_return_sequences = 5;
      config.length_penalty = penalty;
      config.early_stopping = EarlyStopping::never;
      config.eos_token_id = {2};
      const auto result = run_script(ScriptModel(kVocab, hashed_logits()), {{start, 1}}, config);
      ASSERT_EQ(result.sequences.size(), 5U);
      for (size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(result.sequences[i].ids, all[i].second) << penalty << " " << i;
        EXPECT_NEAR(*result.sequences[i].score, all[i].first, 1e-5);  // a few f32 additions of numbers below 20
        EXPECT_EQ(result.sequences[i].finish_reason,
                  all[i].second.back() == 2 ? FinishReason::eos : FinishReason::length);
      }
    }
  }
}

TEST(BeamSearch, PromptsOfABatchAreIndependent) {
  const std::vector<Ids> prompts = {{1, 2, 3}, {4}, {5, 6}, {7, 8}};
  for (const bool sample : {false, true}) {
    GenerationConfig config;
    config.do_sample = sample;
    config.max_new_tokens = 8;
    config.num_beams = 3;
    config.num_return_sequences = 2;
    config.eos_token_id = {0, 9};
    const auto together = run_script(ScriptModel(12, hashed_logits()), prompts, config);
    ASSERT_EQ(together.sequences.size(), 8U);
    for (size_t i = 0; i < prompts.size(); ++i) {
      std::vector<Ids> fewer(prompts.begin(), prompts.begin() + static_cast<std::ptrdiff_t>(i + 1));
      for (size_t j = 0; j < i; ++j) fewer[j] = {static_cast<int64_t>(j)};
      const auto alone = run_script(ScriptModel(12, hashed_logits()), fewer, config);
      for (size_t k = 0; k < 2; ++k) {
        EXPECT_EQ(alone.sequences[2 * i + k].ids, together.sequences[2 * i + k].ids);
        EXPECT_EQ(alone.sequences[2 * i + k].score, together.sequences[2 * i + k].score);
      }
    }
  }
}

TEST(BeamSearch, LogprobsSumToTheScore) {
  for (const bool sample : {false, true}) {
    GenerationConfig config;
    config.do_sample = sample;
    config.top_k = 0;
    config.max_new_tokens = 6;
    config.num_beams = 4;
    config.num_return_sequences = 4;
    config.length_penalty = 1.0;
    config.output_logprobs = true;
    config.top_logprobs = 2;
    const auto result = run_script(ScriptModel(12, hashed_logits()), {{1, 2}}, config);
    ASSERT_EQ(result.sequences.size(), 4U);
    for (const GeneratedSequence& sequence : result.sequences) {
      ASSERT_EQ(sequence.logprobs.size(), sequence.ids.size());
      Ids ids = {1, 2};
      double sum = 0;
      for (size_t i = 0; i < sequence.ids.size(); ++i) {
        const auto want = log_softmax(ids, 12)[static_cast<size_t>(sequence.ids[i])];
        EXPECT_NEAR(sequence.logprobs[i].logprob, want, 1e-5);  // one rounding to f32
        ASSERT_EQ(sequence.logprobs[i].top.size(), 2U);
        sum += sequence.logprobs[i].logprob;
        ids.push_back(sequence.ids[i]);
      }
      EXPECT_NEAR(sum / static_cast<double>(sequence.ids.size()), *sequence.score, 1e-5);
    }
  }
}

TEST(BeamSearch, SamplingDependsOnTheSeedAndOnWarpers) {
  GenerationConfig config;
  config.do_sample = true;
  config.max_new_tokens = 8;
  config.num_beams = 3;
  const auto first = run_script(ScriptModel(12, hashed_logits()), {{1}}, config).sequences[0].ids;
  EXPECT_EQ(run_script(ScriptModel(12, hashed_logits()), {{1}}, config).sequences[0].ids, first);
  int different = 0;
  for (config.seed = 1; config.seed < 10; ++config.seed) {
    different += run_script(ScriptModel(12, hashed_logits()), {{1}}, config).sequences[0].ids != first ? 1 : 0;
  }
  EXPECT_GT(different, 3);
  // Next to no temperature: the beams' candidates are drawn in the order of their scores, as without sampling, where
  // top_k leaves no more than are wanted.
  config.top_k = 1;  // two tokens a beam stay, as there must be one that is no eos
  EXPECT_EQ(run_script(ScriptModel(12, hashed_logits()), {{1}}, config).sequences[0].ids.size(), 8U);
}

TEST(BeamSearch, StopStringsEndHypotheses) {
  const std::vector<std::string> words = {"a", "b", "c", "d", "e", "f"};
  GenerationConfig config;
  config.max_new_tokens = 6;
  config.num_beams = 6;
  config.num_return_sequences = 6;
  config.length_penalty = 0.0;
  config.stop_strings = {"ab", "cd", "ee", "f"};
  const auto result = run_script(ScriptModel(6, hashed_logits(2)), {{0}}, config, {}, test::script_text(words));
  int stopped = 0;
  for (const GeneratedSequence& sequence : result.sequences) {
    std::string whole;
    for (const int64_t id : sequence.ids) whole += words[static_cast<size_t>(id)];
    if (sequence.finish_reason != FinishReason::stop) {
      EXPECT_EQ(sequence.text, whole);
      continue;
    }
    ++stopped;
    EXPECT_TRUE(whole.starts_with(sequence.text));
    const std::string cut = whole.substr(sequence.text.size());
    EXPECT_NE(std::ranges::find(config.stop_strings, cut), config.stop_strings.end()) << cut;
  }
  EXPECT_GT(stopped, 0);
}

TEST(BeamSearch, FewerTokensThanCandidates) {
  // Processors leave two tokens of three; candidates at -infinity or of beams that are out must do no harm.
  GenerationConfig config;
  config.max_new_tokens = 5;
  config.num_beams = 4;
  config.num_return_sequences = 4;
  config.bad_words_ids = {{1}};
  config.eos_token_id = {0};
  for (const bool sample : {false, true}) {
    config.do_sample = sample;
    const auto result = run_script(ScriptModel(3, hashed_logits()), {{1}}, config);
    ASSERT_FALSE(result.sequences.empty());
    EXPECT_TRUE(std::isfinite(*result.sequences[0].score));
    for (const int64_t id : result.sequences[0].ids) EXPECT_NE(id, 1);
  }
}

}  // namespace
}  // namespace bamba
