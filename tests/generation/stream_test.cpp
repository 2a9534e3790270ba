// Streaming, stop strings in generation, and cancellation, over scripted logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "generation/script_model.h"

namespace bamba {
namespace {

using test::hashed_logits;
using test::Ids;
using test::run_script;
using test::sampling;
using test::ScriptModel;

const std::vector<std::string> kWords = {"",   "a",  "b", "ab", "\xC3", "\xA9", "ba", " ",  "x",
                                         "ax", "aa", "",  "E",  "N",    "D",    "EN", "ND", "\n"};

struct Streamed {
  std::map<std::pair<int64_t, int64_t>, std::string> text;
  std::map<std::pair<int64_t, int64_t>, Ids> ids;
  std::function<bool(const StreamEvent&)> callback() {
    return [this](const StreamEvent& event) {
      text[{event.prompt_index, event.sequence_index}] += event.text;
      ids[{event.prompt_index, event.sequence_index}].push_back(event.id);
      return true;
    };
  }
};

TEST(Stream, JoinedEventsAreTheText) {
  int stopped = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    GenerationConfig config = sampling(12, seed);
    config.eos_token_id = {11};
    config.stop_strings = {"END", "abab", "<stop>"};
    config.num_return_sequences = 1 + static_cast<int64_t>(seed % 3);
    config.num_beams = seed % 4 == 3 ? 3 : 1;
    if (config.num_beams > 1) config.do_sample = seed % 8 == 3;
    Streamed streamed;
    GenerateOptions options;
    options.stream = streamed.callback();
    const auto result = run_script(ScriptModel(static_cast<int64_t>(kWords.size()), hashed_logits(2.0)), {{1}, {2, 3}},
                                   config, options, test::script_text(kWords));
    std::map<int64_t, int64_t> index;
    for (const GeneratedSequence& sequence : result.sequences) {
      const std::pair key{sequence.prompt_index, index[sequence.prompt_index]++};
      EXPECT_EQ(streamed.text[key], sequence.text);
      EXPECT_EQ(streamed.ids[key], sequence.ids);
      EXPECT_EQ(sequence.text.find("END"), std::string::npos);
      EXPECT_EQ(sequence.text.find("abab"), std::string::npos);
      stopped += sequence.finish_reason == FinishReason::stop ? 1 : 0;
    }
  }
  EXPECT_GT(stopped, 3) << "the script must reach stop strings for this test to mean anything";
}

TEST(Stop, AcrossTokensAndOnlyInNewText) {
  // Tokens 12.. spell E N D; the prompt ends with "EN" already.
  const Ids script = {14, 12, 13, 14, 8};
  ScriptModel model(static_cast<int64_t>(kWords.size()), [&](std::span<const int64_t> ids, std::span<float> logits) {
    logits[static_cast<size_t>(script.at(ids.size() - 2))] = 1;
  });
  GenerationConfig config;
  config.max_new_tokens = 5;
  config.stop_strings = {"END"};
  const auto result = run_script(model, {{12, 13}}, config, {}, test::script_text(kWords));
  EXPECT_EQ(result.sequences[0].ids, (Ids{14, 12, 13, 14}));
  EXPECT_EQ(result.sequences[0].text, "D");
  EXPECT_EQ(result.sequences[0].finish_reason, FinishReason::stop);
}

TEST(Stop, ASpecialTokenStopsByItsId) {
  const Ids script = {8, 0, 8};
  ScriptModel model(static_cast<int64_t>(kWords.size()), [&](std::span<const int64_t> ids, std::span<float> logits) {
    logits[static_cast<size_t>(script.at(ids.size() - 1))] = 1;
  });
  GenerationConfig config;
  config.max_new_tokens = 3;
  config.stop_strings = {"<stop>"};
  const auto result = run_script(model, {{5}}, config, {}, test::script_text(kWords));
  EXPECT_EQ(result.sequences[0].ids, (Ids{8, 0}));
  EXPECT_EQ(result.sequences[0].text, "x");
  EXPECT_EQ(result.sequences[0].finish_reason, FinishReason::stop);
}

TEST(Cancel, ByTheStreamKeepsWhatWasGenerated) {
  const std::vector<Ids> prompts = {{1}, {2, 3}};
  const auto whole =
      run_script(ScriptModel(18, hashed_logits()), prompts, sampling(10, 1), {}, test::script_text(kWords));
  for (int after = 1; after < 20; ++after) {
    GenerateOptions options;
    int events = 0;
    options.stream = [&](const StreamEvent&) { return ++events < after; };
    const auto result =
        run_script(ScriptModel(18, hashed_logits()), prompts, sampling(10, 1), options, test::script_text(kWords));
    EXPECT_EQ(events, after);
    size_t tokens = 0;
    ASSERT_EQ(result.sequences.size(), 2U);
    for (size_t i = 0; i < 2; ++i) {
      const auto& ids = result.sequences[i].ids;
      const auto& want = whole.sequences[i].ids;
      ASSERT_LE(ids.size(), want.size());
      EXPECT_TRUE(std::equal(ids.begin(), ids.end(), want.begin()));
      EXPECT_EQ(result.sequences[i].finish_reason,
                ids.size() == want.size() ? FinishReason::length : FinishReason::cancelled);
      tokens += ids.size();
    }
    EXPECT_EQ(tokens, static_cast<size_t>(after));
  }
}

TEST(Cancel, ByTheFlag) {
  std::atomic<bool> cancel{true};
  for (const int64_t beams : {1, 3}) {
    GenerationConfig config;
    config.max_new_tokens = 10;
    config.num_beams = beams;
    GenerateOptions options;
    options.cancel = &cancel;
    cancel = true;
    const auto nothing = run_script(ScriptModel(18, hashed_logits()), {{1}, {2}}, config, options);
    ASSERT_EQ(nothing.sequences.size(), 2U);
    EXPECT_TRUE(nothing.sequences[0].ids.empty());
    EXPECT_EQ(nothing.sequences[0].finish_reason, FinishReason::cancelled);

    // Set while the third token is being computed.
    cancel = false;
    ScriptModel model(18, [&](std::span<const int64_t> ids, std::span<float> logits) {
      hashed_logits()(ids, logits);
      if (ids.size() == 4) cancel = true;
    });
    const auto some = run_script(model, {{1}, {2}}, config, options);
    ASSERT_EQ(some.sequences.size(), 2U);
    EXPECT_EQ(some.sequences[0].finish_reason, FinishReason::cancelled);
    EXPECT_EQ(some.sequences[0].ids.size(), 4U);
    EXPECT_EQ(some.sequences[0].score.has_value(), beams > 1);
  }
}

TEST(Stream, ExceptionsOfTheCallerPassThrough) {
  GenerateOptions options;
  options.stream = [](const StreamEvent&) -> bool { throw std::runtime_error("mine"); };
  EXPECT_THROW(run_script(ScriptModel(18, hashed_logits()), {{1}}, {}, options), std::runtime_error);
}

}  // namespace
}  // namespace bamba
