// The scheduler with the cache of states, over a scripted model: what is read, and what is not read again.
#include <gtest/gtest.h>

#include <numeric>

#include "engine/radix_cache.h"
#include "engine/support.h"

namespace bamba::test {
namespace {

/// A harness whose scheduler has a cache, over the same model.
struct CachedHarness {
  explicit CachedHarness(SchedulerLimits limits = {.max_sequences = 8, .step_tokens = 64, .running_bytes = 1 << 20})
      : cache(make_state_cache(states, cache_options())), harness(limits, cache.get()) {}

  static StateCacheOptions cache_options() {
    StateCacheOptions options;
    options.bytes = size_t{1} << 20;
    return options;
  }

  BoundedModel states;  // makes and restores states for the cache; the harness's own runs
  std::unique_ptr<StateCache> cache;
  Harness harness;

  int64_t read() const {
    int64_t total = 0;
    for (const auto& step : harness.model.steps) total += std::accumulate(step.begin(), step.end(), int64_t{0});
    return total;
  }
};

Ids joined(const Ids& begin, const Ids& end) {
  Ids out = begin;
  out.insert(out.end(), end.begin(), end.end());
  return out;
}

TEST(SchedulerCache, TheSamePromptIsReadOnce) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  const Ids prompt = numbered_prompt(100);
  const auto first = harness.submit(prompt, greedy(5));
  harness.run();
  const int64_t before = cached.read();
  EXPECT_EQ(before, 100 + 4);
  const auto second = harness.submit(prompt, greedy(5));
  harness.run();
  EXPECT_EQ(second->usage.cached_tokens, 99);
  EXPECT_EQ(cached.read() - before, 1 + 4);
  expect_same(second->sequences.at(0), harness.alone(prompt, greedy(5)));
  expect_same(first->sequences.at(0), second->sequences.at(0));
  const EngineMetrics& metrics = harness.scheduler.metrics();
  EXPECT_EQ(metrics.cache_hits, 1U);
  EXPECT_EQ(metrics.cache_misses, 1U);
  EXPECT_EQ(metrics.cached_tokens, 99U);
  EXPECT_EQ(metrics.prompt_tokens, 200U);
  EXPECT_GT(metrics.cache_bytes, 0U);
}

TEST(SchedulerCache, AConversationReadsOnlyWhatIsNew) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  Ids text = numbered_prompt(100);
  for (int turn = 0; turn < 4; ++turn) {
    const auto heard = harness.submit(text, greedy(30));
    harness.run();
    expect_same(heard->sequences.at(0), harness.alone(text, greedy(30)));
    // The state at the reply's end holds all but its last token.
    EXPECT_EQ(heard->usage.cached_tokens, turn == 0 ? 0 : static_cast<int64_t>(text.size()) - 21);
    text = joined(joined(text, heard->sequences.at(0).ids), numbered_prompt(20, turn));
  }
}

TEST(SchedulerCache, WherePromptsPartASnapshotIsKept) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  const Ids common = numbered_prompt(80);
  for (int i = 0; i < 4; ++i) {
    const Ids prompt = joined(common, numbered_prompt(40, i + 1));
    const auto heard = harness.submit(prompt, sampling(5));
    harness.run();
    // The second one shows that there is a junction, those after it start there.
    EXPECT_EQ(heard->usage.cached_tokens, i < 2 ? 0 : 80) << i;
    expect_same(heard->sequences.at(0), harness.alone(prompt, sampling(5)));
  }
}

TEST(SchedulerCache, PointsAskedForAreKept) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  const Ids common = numbered_prompt(80);
  for (int i = 0; i < 2; ++i) {
    EngineRequest request;
    request.prompt_ids = joined(common, numbered_prompt(40, i + 1));
    request.generation = greedy(5);
    request.cache_points = {80};
    const auto heard = harness.submit(request);
    harness.run();
    EXPECT_EQ(heard->usage.cached_tokens, i == 0 ? 0 : 80);
  }
}

TEST(SchedulerCache, PromptsThatBeginAlikeAndComeTogetherReadItOnce) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  const Ids common = numbered_prompt(300);
  std::vector<Ids> prompts;
  std::vector<std::shared_ptr<Heard>> all;
  for (int i = 0; i < 6; ++i) {
    prompts.push_back(joined(common, numbered_prompt(20 + i, i + 1)));
    all.push_back(harness.submit(prompts.back(), greedy(4)));
  }
  harness.run();
  int64_t own = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    expect_same(all[i]->sequences.at(0), harness.alone(prompts[i], greedy(4)));
    own += static_cast<int64_t>(prompts[i].size()) - 300;
    if (i > 0) {
      EXPECT_EQ(all[i]->usage.cached_tokens, 300);
    }
  }
  EXPECT_EQ(harness.scheduler.metrics().prefill_tokens, static_cast<uint64_t>(300 + own));
  EXPECT_EQ(harness.scheduler.metrics().cache_hits, 5U);
  EXPECT_EQ(harness.scheduler.metrics().cache_misses, 1U);
}

TEST(SchedulerCache, NobodyWaitsForALeaderThatIsGone) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  const Ids prompt = numbered_prompt(400);
  auto leader = std::make_shared<Heard>();
  EngineRequest request;
  request.prompt_ids = prompt;
  request.generation = greedy(4);
  const uint64_t number = harness.add(request, leader);
  const auto follower = harness.submit(prompt, greedy(4));
  harness.advance();
  harness.advance();
  harness.scheduler.end(number, Error(ErrorCode::cancelled, "cancelled"));
  harness.run();
  ASSERT_TRUE(follower->done);
  // What the leader had read is not lost.
  EXPECT_EQ(follower->usage.cached_tokens, 128);
  expect_same(follower->sequences.at(0), harness.alone(prompt, greedy(4)));
}

TEST(SchedulerCache, ARequestThatWasCancelledLeavesWhatItRead) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  const Ids prompt = numbered_prompt(400);
  auto heard = std::make_shared<Heard>();
  EngineRequest request;
  request.prompt_ids = prompt;
  request.generation = greedy(50);
  const uint64_t number = harness.add(request, heard);
  for (int i = 0; i < 3; ++i) harness.advance();
  harness.scheduler.end(number, Error(ErrorCode::cancelled, "cancelled"));
  const auto again = harness.submit(prompt, greedy(5));
  harness.run();
  EXPECT_EQ(again->usage.cached_tokens, 3 * 64);
  expect_same(again->sequences.at(0), harness.alone(prompt, greedy(5)));
}

TEST(SchedulerCache, PromptLogprobsReadThePromptWhole) {
  CachedHarness cached;
  Harness& harness = cached.harness;
  EngineRequest request;
  request.prompt_ids = numbered_prompt(100);
  request.generation = greedy(3);
  request.prompt_logprobs = true;
  for (int i = 0; i < 2; ++i) {
    const auto heard = harness.submit(request);
    harness.run();
    EXPECT_EQ(heard->usage.cached_tokens, 0);
    EXPECT_EQ(heard->prompt_logprobs.size(), 99U);
  }
}

TEST(SchedulerCache, StridesOfALongPrompt) {
  CachedHarness cached({.max_sequences = 8, .step_tokens = 64, .running_bytes = 1 << 20, .cache_stride = 128});
  Harness& harness = cached.harness;
  harness.submit(numbered_prompt(500), greedy(2));
  harness.run();
  // One that parts at 300 goes on from the last stride before.
  Ids other = numbered_prompt(300);
  for (int i = 0; i < 50; ++i) other.push_back(1);
  const auto heard = harness.submit(other, greedy(2));
  harness.run();
  EXPECT_EQ(heard->usage.cached_tokens, 256);
  expect_same(heard->sequences.at(0), harness.alone(other, greedy(2)));
}

}  // namespace
}  // namespace bamba::test
