// The scheduler over a scripted model: who runs when, and that every result is that of the request alone.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "engine/support.h"

namespace bamba::test {
namespace {

constexpr size_t kBase = 1024;  // of a scripted state, and 16 bytes a token
size_t state_bytes(int64_t tokens) {
  return kBase + 16 * static_cast<size_t>(tokens);
}

TEST(Scheduler, AModelThatDrawsGetsARowsOwnSettings) {
  Harness harness;
  harness.model.inner.can_draw = true;
  GenerationConfig two = sampling(8, 3);
  two.num_return_sequences = 2;  // draw their first tokens from one row, on the host
  GenerationConfig penalized = sampling(4, 5);
  penalized.repetition_penalty = 1.5;  // ends first: while it runs, logits come to the host
  const std::vector<GenerationConfig> configs = {greedy(12), sampling(20, 7), two, penalized};
  std::vector<std::shared_ptr<Heard>> heard;
  for (size_t i = 0; i < configs.size(); ++i) {
    heard.push_back(harness.submit(numbered_prompt(40 + static_cast<int64_t>(i)), configs[i]));
  }
  harness.run();
  for (size_t i = 0; i < configs.size(); ++i) {
    ASSERT_TRUE(heard[i]->done);
    if (configs[i].num_return_sequences > 1) continue;
    expect_same(heard[i]->sequences.at(0), harness.alone(numbered_prompt(40 + static_cast<int64_t>(i)), configs[i]));
  }
  EXPECT_GT(harness.model.inner.drawn_rows, 0U);
}

TEST(Scheduler, OneRequestIsWhatGenerateReturns) {
  Harness harness;
  const Ids prompt = numbered_prompt(300);
  for (const auto& config : {greedy(20), sampling(20, 7)}) {
    const auto heard = harness.submit(prompt, config);
    harness.run();
    ASSERT_TRUE(heard->done);
    expect_same(heard->sequences.at(0), harness.alone(prompt, config));
    EXPECT_EQ(heard->streamed.at(0), heard->sequences.at(0).ids);
    EXPECT_EQ(heard->usage.prompt_tokens, 300);
    EXPECT_EQ(heard->usage.completion_tokens, 20);
  }
  EXPECT_GT(harness.model.best_steps, 0) << "greedy rows need no logits on the host";
}

TEST(Scheduler, AllThatDecodeAdvanceInOneStep) {
  Harness harness;
  std::vector<std::shared_ptr<Heard>> all;
  for (int64_t i = 0; i < 10; ++i) all.push_back(harness.submit(numbered_prompt(5, i), greedy(10)));
  harness.run();
  // One step reads all prompts, nine more write the rest.
  EXPECT_EQ(harness.model.steps.size(), 10U);
  for (size_t i = 1; i < harness.model.steps.size(); ++i) EXPECT_EQ(harness.model.steps[i].size(), 10U);
  for (int64_t i = 0; i < 10; ++i) {
    expect_same(all[static_cast<size_t>(i)]->sequences.at(0), harness.alone(numbered_prompt(5, i), greedy(10)));
  }
}

TEST(Scheduler, PromptsAreReadBesideThoseThatWrite) {
  Harness harness({.max_sequences = 4, .step_tokens = 32, .running_bytes = 1 << 20});
  const auto writer = harness.submit(numbered_prompt(4), greedy(60));
  harness.advance();
  const auto reader = harness.submit(numbered_prompt(200, 3), greedy(5));
  for (int i = 0; i < 7; ++i) {
    const size_t before = writer->tokens();
    harness.advance();
    EXPECT_EQ(writer->tokens(), before + 1) << "a long prompt must not hold up who writes";
    EXPECT_EQ(harness.model.steps.back().at(0), 1);
  }
  EXPECT_EQ(harness.model.steps.back(), (std::vector<int64_t>{1, 200 - 6 * 31}));
  harness.run();
  expect_same(reader->sequences.at(0), harness.alone(numbered_prompt(200, 3), greedy(5)));
}

TEST(Scheduler, AShortPromptDoesNotWaitForALongOne) {
  Harness harness({.max_sequences = 4, .step_tokens = 64, .running_bytes = 1 << 20});
  const auto lengthy = harness.submit(numbered_prompt(2000), greedy(2));
  harness.advance();
  const auto brief = harness.submit(numbered_prompt(20, 1), greedy(2));
  harness.advance();
  EXPECT_TRUE(brief->prompt_read);
  EXPECT_FALSE(lengthy->prompt_read);
  harness.run();
}

TEST(Scheduler, ALongPromptEndsUnderAStreamOfShortOnes) {
  Harness harness({.max_sequences = 4, .step_tokens = 64, .running_bytes = 1 << 20});
  const auto lengthy = harness.submit(numbered_prompt(640), greedy(1));
  int steps = 0;
  for (; !lengthy->prompt_read && steps < 100; ++steps) {
    harness.submit(numbered_prompt(64, steps), greedy(1));
    harness.advance();
  }
  EXPECT_LE(steps, 21);
  harness.run();
}

TEST(Scheduler, HigherPriorityStartsFirstAndEqualsInOrder) {
  Harness harness({.max_sequences = 1, .step_tokens = 64, .running_bytes = 1 << 20});
  std::vector<std::shared_ptr<Heard>> all;
  for (const int priority : {0, 0, 5, -1, 5}) all.push_back(harness.submit(numbered_prompt(4), greedy(1), priority));
  const std::vector<size_t> order = {2, 4, 0, 1, 3};
  for (const size_t next : order) {
    harness.advance();
    EXPECT_TRUE(all[next]->done) << next;
    EXPECT_EQ(std::count_if(all.begin(), all.end(), [](const auto& heard) { return heard->done; }),
              1 + (std::find(order.begin(), order.end(), next) - order.begin()));
  }
}

TEST(Scheduler, NoMoreSequencesThanAllowed) {
  Harness harness({.max_sequences = 3, .step_tokens = 64, .running_bytes = 1 << 20});
  GenerationConfig two = sampling(6);
  two.num_return_sequences = 2;
  std::vector<std::shared_ptr<Heard>> all;
  for (int i = 0; i < 4; ++i) all.push_back(harness.submit(numbered_prompt(4, i), i % 2 == 0 ? two : greedy(6)));
  harness.run();  // the harness checks the bound
  for (const auto& heard : all) EXPECT_TRUE(heard->done);
  GenerationConfig four = sampling(6);
  four.num_return_sequences = 4;
  EXPECT_THROW(harness.submit(numbered_prompt(4), four), Error);
}

TEST(Scheduler, StartsOnlyWhatMemoryIsExpectedToHold) {
  // Room for two prompts of 100 tokens with their replies of 50.
  Harness harness({.max_sequences = 8, .step_tokens = 512, .running_bytes = 2 * state_bytes(150)});
  std::vector<std::shared_ptr<Heard>> all;
  for (int i = 0; i < 5; ++i) all.push_back(harness.submit(numbered_prompt(100, i), greedy(50)));
  harness.advance();
  EXPECT_EQ(harness.scheduler.metrics().running, 2);
  EXPECT_EQ(harness.scheduler.metrics().waiting, 3);
  harness.run();
  for (int i = 0; i < 5; ++i) {
    expect_same(all[static_cast<size_t>(i)]->sequences.at(0), harness.alone(numbered_prompt(100, i), greedy(50)));
  }
  EXPECT_EQ(harness.scheduler.metrics().preemptions, 0U);
  EXPECT_THROW(harness.submit(numbered_prompt(100), greedy(400)), Error) << "could never run";
}

/// Three requests that are expected to fit and then grow beyond that.
void outgrow(Harness& harness) {
  std::vector<std::shared_ptr<Heard>> all;
  for (int i = 0; i < 3; ++i) all.push_back(harness.submit(numbered_prompt(20, i), sampling(600, 5)));
  bool preempted = false;
  while (!harness.scheduler.idle()) {
    harness.advance();
    if (harness.scheduler.metrics().preempted > 0) {
      preempted = true;
      EXPECT_GT(all[0]->tokens() + all[1]->tokens(), 0U);
      EXPECT_TRUE(!all[2]->done) << "the youngest makes way";
    }
  }
  EXPECT_TRUE(preempted);
  for (int i = 0; i < 3; ++i) {
    expect_same(all[static_cast<size_t>(i)]->sequences.at(0), harness.alone(numbered_prompt(20, i), sampling(600, 5)));
  }
  EXPECT_EQ(harness.scheduler.metrics().running_bytes, 0U);
  EXPECT_EQ(harness.scheduler.metrics().host_bytes, 0U);
}

TEST(Scheduler, TheYoungestMakesWayAndComesBack) {
  Harness harness({.running_bytes = 3 * state_bytes(20 + Scheduler::kExpectedReply), .host_bytes = 1 << 20});
  outgrow(harness);
  EXPECT_GT(harness.scheduler.metrics().preemptions, 0U);
  EXPECT_EQ(harness.scheduler.metrics().recomputations, 0U);
  EXPECT_GT(harness.model.restored, 0);
}

TEST(Scheduler, WithoutRoomOnTheHostItIsReadAgain) {
  Harness harness({.running_bytes = 3 * state_bytes(20 + Scheduler::kExpectedReply), .host_bytes = 0});
  outgrow(harness);
  EXPECT_GT(harness.scheduler.metrics().preemptions, 0U);
  EXPECT_EQ(harness.scheduler.metrics().recomputations, harness.scheduler.metrics().preemptions);
  EXPECT_EQ(harness.model.restored, 0);
}

TEST(Scheduler, AHigherPriorityMakesALowerOneGiveWay) {
  Harness harness({.max_sequences = 2, .step_tokens = 64, .running_bytes = 1 << 20, .host_bytes = 1 << 20});
  const auto first = harness.submit(numbered_prompt(4, 0), greedy(20), 1);
  const auto second = harness.submit(numbered_prompt(4, 1), greedy(20), 0);
  harness.advance();
  const auto equal = harness.submit(numbered_prompt(4, 2), greedy(3), 0);
  harness.advance();
  EXPECT_EQ(harness.scheduler.metrics().preempted, 0) << "equals wait";
  const auto urgent = harness.submit(numbered_prompt(4, 3), greedy(3), 2);
  harness.advance();
  EXPECT_EQ(urgent->tokens(), 1U);
  EXPECT_EQ(harness.scheduler.metrics().preempted, 1);
  EXPECT_EQ(second->tokens(), 2U) << "the lowest of those that run made way";
  harness.run();
  // Who made way goes on before an equal that has not begun.
  EXPECT_LT(second->usage.queue_seconds, equal->usage.queue_seconds);
  EXPECT_EQ(equal->usage_at_prompt.queue_seconds, equal->usage.queue_seconds);
  expect_same(first->sequences.at(0), harness.alone(numbered_prompt(4, 0), greedy(20)));
  expect_same(second->sequences.at(0), harness.alone(numbered_prompt(4, 1), greedy(20)));
}

TEST(Scheduler, SeveralSequencesMakeWayTogether) {
  for (const size_t host : {size_t{0}, size_t{1} << 20}) {
    Harness harness({.max_sequences = 3, .step_tokens = 64, .running_bytes = 1 << 20, .host_bytes = host});
    GenerationConfig three = sampling(30, 9);
    three.num_return_sequences = 3;
    const auto heard = harness.submit(numbered_prompt(40), three);
    for (int i = 0; i < 8; ++i) harness.advance();
    const auto urgent = harness.submit(numbered_prompt(4), greedy(3), 1);
    harness.run();
    EXPECT_EQ(harness.scheduler.metrics().preemptions, 1U);
    EXPECT_TRUE(urgent->done);
    ScriptModel one(kVocab, hashed_logits());
    const auto wanted = run_script(one, {numbered_prompt(40)}, three).sequences;
    for (int64_t i = 0; i < 3; ++i) expect_same(heard->sequences.at(i), wanted[static_cast<size_t>(i)]);
  }
}

TEST(Scheduler, MakesWayWhileItsPromptIsRead) {
  for (const size_t host : {size_t{0}, size_t{1} << 20}) {
    Harness harness({.max_sequences = 1, .step_tokens = 16, .running_bytes = 1 << 20, .host_bytes = host});
    EngineRequest request;
    request.prompt_ids = numbered_prompt(100);
    request.generation = greedy(3);
    request.generation.output_logprobs = true;
    request.prompt_logprobs = true;
    const auto heard = harness.submit(request);
    harness.advance();
    harness.advance();
    const auto urgent = harness.submit(numbered_prompt(4), greedy(1), 1);
    harness.run();
    EXPECT_TRUE(urgent->done);
    EXPECT_EQ(heard->prompt_logprobs.size(), 99U);
    expect_same(heard->sequences.at(0), harness.alone(numbered_prompt(100), request.generation));
  }
}

TEST(Scheduler, ManySequencesFromOnePrompt) {
  Harness harness;
  GenerationConfig config = sampling(12, 3);
  config.num_return_sequences = 5;
  config.output_logprobs = true;
  config.top_logprobs = 2;
  config.eos_token_id = {3, 4, 5};
  const Ids prompt = numbered_prompt(50);
  const auto heard = harness.submit(prompt, config);
  harness.run();
  ScriptModel one(kVocab, hashed_logits());
  const auto wanted = run_script(one, {prompt}, config).sequences;
  std::set<Ids> different;
  for (int64_t i = 0; i < 5; ++i) {
    expect_same(heard->sequences.at(i), wanted[static_cast<size_t>(i)]);
    EXPECT_EQ(heard->streamed.at(i), wanted[static_cast<size_t>(i)].ids);
    different.insert(wanted[static_cast<size_t>(i)].ids);
  }
  EXPECT_GT(different.size(), 1U);
  EXPECT_EQ(harness.scheduler.metrics().prefill_tokens, 50U) << "the prompt is read once";
  // In the order of ending: shorter ones first.
  for (size_t i = 1; i < 5; ++i) {
    EXPECT_LE(heard->sequences.at(heard->ending_order[i - 1]).ids.size(),
              heard->sequences.at(heard->ending_order[i]).ids.size());
  }
}

TEST(Scheduler, BestOfRanksByMeanLogprob) {
  Harness harness;
  EngineRequest request;
  request.prompt_ids = numbered_prompt(20);
  request.generation = sampling(8, 3);
  request.generation.num_return_sequences = 2;
  request.best_of = 6;
  const auto heard = harness.submit(request);
  harness.run();
  EXPECT_TRUE(heard->streamed.empty());
  EXPECT_EQ(heard->ending_order, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(heard->usage.completion_tokens, 6 * 8);

  GenerationConfig all = request.generation;
  all.num_return_sequences = 6;
  all.output_logprobs = true;
  ScriptModel one(kVocab, hashed_logits());
  auto wanted = run_script(one, {request.prompt_ids}, all).sequences;
  const auto mean = [](const GeneratedSequence& sequence) {
    double sum = 0;
    for (const auto& token : sequence.logprobs) sum += token.logprob;
    return sum / static_cast<double>(sequence.logprobs.size());
  };
  std::stable_sort(wanted.begin(), wanted.end(), [&](const auto& a, const auto& b) { return mean(a) > mean(b); });
  for (int64_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(heard->sequences.at(rank).ids, wanted[static_cast<size_t>(rank)].ids);
    EXPECT_TRUE(heard->sequences.at(rank).logprobs.empty()) << "nobody asked for them";
  }
}

TEST(Scheduler, AProcessorForEachSequence) {
  // Each one counts its own calls, and forbids that token: shared or mixed up, sequences would differ from these.
  Harness harness;
  EngineRequest request;
  request.prompt_ids = numbered_prompt(6);
  request.generation = sampling(10, 4);
  request.generation.num_return_sequences = 3;
  int made = 0;
  request.new_processor = [&made] {
    ++made;
    return [step = 0](std::span<const int64_t> /*ids*/, std::span<float> scores) mutable {
      for (size_t i = 0; i < scores.size(); ++i) {
        if (static_cast<int>(i) != step) scores[i] = -std::numeric_limits<float>::infinity();
      }
      ++step;
    };
  };
  const auto heard = harness.submit(request);
  harness.run();
  EXPECT_EQ(made, 3);
  Ids rising(10);
  std::iota(rising.begin(), rising.end(), 0);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(heard->sequences.at(i).ids, rising);
}

TEST(Scheduler, LogprobsOfThePrompt) {
  Harness harness({.max_sequences = 8, .step_tokens = 512, .running_bytes = 1 << 20});
  EngineRequest request;
  request.prompt_ids = numbered_prompt(300);
  request.generation = greedy(3);
  request.generation.output_logprobs = true;
  request.generation.top_logprobs = 3;
  request.prompt_logprobs = true;
  const auto heard = harness.submit(request);
  const auto other = harness.submit(request);
  harness.run();
  for (const auto& step : harness.model.steps) {
    for (const int64_t tokens : step) EXPECT_LE(tokens, Scheduler::kLogprobPiece);
  }
  ASSERT_EQ(heard->prompt_logprobs.size(), 299U);
  for (size_t i = 0; i < 299; ++i) {
    std::vector<float> row(kVocab);
    hashed_logits()(std::span(request.prompt_ids).first(i + 1), row);
    double sum = 0;
    for (const float logit : row) sum += std::exp(double{logit});
    const double wanted = double{row[static_cast<size_t>(request.prompt_ids[i + 1])]} - std::log(sum);
    EXPECT_NEAR(heard->prompt_logprobs[i].logprob, wanted, 1e-9) << i;  // f64 sums of 32 terms
    EXPECT_EQ(heard->prompt_logprobs[i].top.size(), 3U);
  }
  expect_same(heard->sequences.at(0), harness.alone(request.prompt_ids, request.generation));
  EXPECT_EQ(other->prompt_logprobs.size(), 299U);
}

TEST(Scheduler, StopStringsAndText) {
  static const std::vector<std::string> words = [] {
    std::vector<std::string> out;
    for (int i = 0; i < kVocab; ++i) out.push_back(std::string(1, static_cast<char>('a' + i % 26)) + " ");
    return out;
  }();
  Harness harness({.running_bytes = 1 << 20}, nullptr, script_text(words));
  GenerationConfig config = sampling(60, 11);
  config.stop_strings = {"c d", "a", "<stop>"};
  const auto heard = harness.submit(numbered_prompt(7), config);
  harness.run();
  const auto wanted = harness.alone(numbered_prompt(7), config);
  expect_same(heard->sequences.at(0), wanted);
  EXPECT_EQ(heard->texts.at(0), wanted.text);
  EXPECT_EQ(wanted.finish_reason, FinishReason::stop);
}

TEST(Scheduler, ARandomMixIsWhatEachIsAlone) {
  uint64_t seed = 42;
  const auto random = [&](int64_t bound) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return static_cast<int64_t>((seed >> 33) % static_cast<uint64_t>(bound));
  };
  for (int round = 0; round < 20; ++round) {
    Harness harness({.max_sequences = 4 + random(6),
                     .step_tokens = 10 + random(80),
                     .running_bytes = state_bytes(1200) + static_cast<size_t>(random(20000)),
                     .host_bytes = static_cast<size_t>(random(3) * 4000),
                     .cut_multiple = 1 + random(2) * 7});
    struct Sent {
      uint64_t number;
      Ids prompt;
      GenerationConfig config;
      std::shared_ptr<Heard> heard;
      bool cancelled = false;
    };
    std::vector<Sent> all;
    for (int i = 0; i < 30; ++i) {
      for (int64_t steps = random(6); steps > 0; --steps) harness.advance();
      EngineRequest request;
      request.prompt_ids = numbered_prompt(1 + random(250), random(32));
      request.priority = static_cast<int>(random(3));
      GenerationConfig& config = request.generation;
      config.max_new_tokens = 1 + random(random(5) == 0 ? 700 : 30);
      config.eos_token_id = {random(kVocab)};
      config.do_sample = random(2) == 0;
      config.seed = static_cast<uint64_t>(random(1000));
      config.temperature = 0.5 + 0.1 * static_cast<double>(random(10));
      config.top_k = random(20);
      config.repetition_penalty = random(3) == 0 ? 1.3 : 1.0;
      config.frequency_penalty = random(3) == 0 ? 0.4 : 0.0;
      config.output_logprobs = random(3) == 0;
      if (config.do_sample && random(3) == 0 && *config.max_new_tokens < 30) config.num_return_sequences = 3;
      auto heard = std::make_shared<Heard>();
      const uint64_t number = harness.add(request, heard);
      all.push_back({number, request.prompt_ids, config, heard});
      if (random(8) == 0) {
        Sent& victim = all[static_cast<size_t>(random(static_cast<int64_t>(all.size())))];
        if (!victim.heard->ended()) {
          victim.cancelled = true;
          harness.scheduler.end(victim.number, Error(ErrorCode::cancelled, "cancelled"));
        }
      }
    }
    harness.run();
    for (const Sent& sent : all) {
      EXPECT_EQ(sent.heard->error.has_value(), sent.cancelled);
      if (sent.cancelled) continue;
      ScriptModel one(kVocab, hashed_logits());
      const auto wanted = run_script(one, {sent.prompt}, sent.config).sequences;
      ASSERT_EQ(sent.heard->sequences.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i) {
        expect_same(sent.heard->sequences.at(static_cast<int64_t>(i)), wanted[i]);
      }
    }
  }
}

TEST(Scheduler, Metrics) {
  Harness harness;
  harness.submit(numbered_prompt(10), greedy(4));
  harness.submit(numbered_prompt(20), greedy(6));
  harness.advance();
  EngineMetrics metrics = harness.scheduler.metrics();
  EXPECT_EQ(metrics.running, 2);
  EXPECT_EQ(metrics.sequences, 2);
  EXPECT_EQ(metrics.last_batch_tokens, 30);
  EXPECT_EQ(metrics.last_batch_sequences, 2);
  EXPECT_EQ(metrics.running_bytes, state_bytes(11) + state_bytes(21));
  harness.run();
  metrics = harness.scheduler.metrics();
  EXPECT_EQ(metrics.requests_finished, 2U);
  EXPECT_EQ(metrics.steps, 6U);
  EXPECT_EQ(metrics.prompt_tokens, 30U);
  EXPECT_EQ(metrics.prefill_tokens, 30U);
  EXPECT_EQ(metrics.cached_tokens, 0U);
  EXPECT_EQ(metrics.generated_tokens, 10U);
  EXPECT_EQ(metrics.queue_time.count, 2U);
  EXPECT_EQ(metrics.time_to_first_token.count, 2U);
  EXPECT_EQ(metrics.inter_token.count, 8U);
  EXPECT_DOUBLE_EQ(metrics.inter_token.sum, 8.0);  // the harness's steps take a second
  EXPECT_EQ(metrics.inter_token.counts.back(), 8U);
  EXPECT_EQ(metrics.inter_token.counts.front(), 0U);
}

}  // namespace
}  // namespace bamba::test
