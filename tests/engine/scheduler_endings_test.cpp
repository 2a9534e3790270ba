// How requests end before they are done: cancelled, too late, out of memory, broken; and that others do not notice.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "engine/support.h"

namespace bamba::test {
namespace {

TEST(SchedulerEndings, AProcessorThatThrowsEndsItsOwnRequestOnly) {
  Harness harness;
  EngineRequest bad;
  bad.prompt_ids = numbered_prompt(6);
  bad.generation = greedy(10);
  bad.new_processor = [] {
    return [](std::span<const int64_t> ids, std::span<float> /*scores*/) {
      if (ids.size() == 9) throw std::runtime_error("no more");
    };
  };
  const auto broken = harness.submit(bad);
  const auto good = harness.submit(numbered_prompt(6, 1), greedy(10));
  harness.run();
  ASSERT_TRUE(broken->error);
  EXPECT_NE(std::string(broken->error->what()).find("no more"), std::string::npos);
  EXPECT_EQ(broken->tokens(), 3U);
  EXPECT_TRUE(good->done);
  EXPECT_EQ(harness.scheduler.metrics().requests_failed, 1U);
  EXPECT_EQ(harness.scheduler.metrics().requests_finished, 1U);
}

TEST(SchedulerEndings, CancelledAtEveryPhase) {
  for (const bool waiting : {true, false}) {
    for (int steps = 0; steps < 12; ++steps) {
      Harness harness({.max_sequences = 2, .step_tokens = 16, .running_bytes = 1 << 20});
      const auto other = harness.submit(numbered_prompt(4), greedy(30));
      auto heard = std::make_shared<Heard>();
      EngineRequest request;
      request.prompt_ids = numbered_prompt(60, 2);
      request.generation = greedy(30);
      if (waiting) request.generation.num_return_sequences = 1;
      const auto third = waiting ? harness.submit(numbered_prompt(4, 5), greedy(30)) : nullptr;
      const uint64_t number = harness.add(request, heard);
      for (int i = 0; i < steps; ++i) harness.advance();
      const size_t tokens = heard->tokens();
      harness.scheduler.end(number, Error(ErrorCode::cancelled, "cancelled"));
      ASSERT_TRUE(heard->error);
      EXPECT_EQ(heard->error->code(), ErrorCode::cancelled);
      harness.scheduler.end(number, Error(ErrorCode::cancelled, "cancelled"));  // ended: ignored
      harness.run();
      EXPECT_EQ(heard->tokens(), tokens);
      EXPECT_TRUE(other->done);
      EXPECT_EQ(harness.scheduler.metrics().requests_cancelled, 1U);
      expect_same(other->sequences.at(0), harness.alone(numbered_prompt(4), greedy(30)));
    }
  }
}

TEST(SchedulerEndings, CancelledAfterMakingWay) {
  Harness harness({.max_sequences = 1, .step_tokens = 16, .running_bytes = 1 << 20, .host_bytes = 1 << 20});
  auto heard = std::make_shared<Heard>();
  EngineRequest request;
  request.prompt_ids = numbered_prompt(6);
  request.generation = greedy(30);
  const uint64_t number = harness.add(request, heard);
  harness.advance();
  const auto urgent = harness.submit(numbered_prompt(4), greedy(4), 1);
  harness.advance();
  EXPECT_EQ(harness.scheduler.metrics().preempted, 1);
  EXPECT_GT(harness.scheduler.metrics().host_bytes, 0U);
  harness.scheduler.end(number, Error(ErrorCode::cancelled, "cancelled"));
  EXPECT_EQ(harness.scheduler.metrics().host_bytes, 0U);
  harness.run();
  EXPECT_TRUE(urgent->done);
}

TEST(SchedulerEndings, TimeoutsAlsoWhileWaiting) {
  Harness harness({.max_sequences = 1, .step_tokens = 16, .running_bytes = 1 << 20});
  EngineRequest request;
  request.prompt_ids = numbered_prompt(4);
  request.generation = greedy(30);
  request.timeout_seconds = 10;
  const auto runs = harness.submit(request);
  request.timeout_seconds = 5;
  const auto waits = harness.submit(request);
  const auto patient = harness.submit(numbered_prompt(4), greedy(5));
  while (!waits->error) harness.advance();
  EXPECT_EQ(waits->error->code(), ErrorCode::timeout);
  EXPECT_EQ(harness.now, 6) << "found before the step that began at 5 seconds";
  EXPECT_FALSE(runs->error);
  harness.run();
  ASSERT_TRUE(runs->error);
  EXPECT_EQ(runs->error->code(), ErrorCode::timeout);
  EXPECT_EQ(runs->tokens(), 10U);
  EXPECT_TRUE(patient->done);
}

TEST(SchedulerEndings, OutOfMemoryMakesSomebodyGiveWay) {
  Harness harness({.running_bytes = 1 << 20, .host_bytes = 1 << 20});
  const auto first = harness.submit(numbered_prompt(4, 0), greedy(10));
  const auto second = harness.submit(numbered_prompt(4, 1), greedy(10));
  harness.advance();
  harness.model.fail_forwards = 1;
  harness.run();
  EXPECT_EQ(harness.scheduler.metrics().preemptions, 1U);
  expect_same(first->sequences.at(0), harness.alone(numbered_prompt(4, 0), greedy(10)));
  expect_same(second->sequences.at(0), harness.alone(numbered_prompt(4, 1), greedy(10)));
  // Nobody left to give way: the request fails, and the next one runs.
  const auto third = harness.submit(numbered_prompt(4, 2), greedy(10));
  harness.model.fail_forwards = 1;
  harness.run();
  ASSERT_TRUE(third->error);
  EXPECT_EQ(third->error->code(), ErrorCode::out_of_memory);
  const auto fourth = harness.submit(numbered_prompt(4, 2), greedy(10));
  harness.run();
  EXPECT_TRUE(fourth->done);
}

TEST(SchedulerEndings, BrokenLogitsFailTheirOwnRequest) {
  Harness harness;
  harness.model.script = [](std::span<const int64_t> ids, std::span<float> logits) {
    hashed_logits()(ids, logits);
    if (ids[0] == 1 && ids.size() == 8) logits[3] = std::numeric_limits<float>::quiet_NaN();
  };
  const auto broken = harness.submit(numbered_prompt(4, 1), greedy(10));
  const auto good = harness.submit(numbered_prompt(4, 2), greedy(10));
  const auto sampled = harness.submit(numbered_prompt(4, 1), sampling(10));
  harness.run();
  ASSERT_TRUE(broken->error);
  EXPECT_EQ(broken->error->code(), ErrorCode::non_finite);
  ASSERT_TRUE(sampled->error);
  EXPECT_EQ(sampled->error->code(), ErrorCode::non_finite);
  EXPECT_TRUE(good->done);
}

/// Throws at one of its calls, and counts those that come after.
class Thrower final : public Heard {
 public:
  explicit Thrower(int where) : where_(where) {}
  void prompt_done(const EngineUsage& usage_, const std::vector<TokenLogprob>& logprobs) override {
    throw_at(0);
    Heard::prompt_done(usage_, logprobs);
  }
  void token(const StreamEvent& event) override {
    throw_at(1);
    Heard::token(event);
  }
  void sequence_finished(int64_t index, const GeneratedSequence& sequence) override {
    throw_at(2);
    Heard::sequence_finished(index, sequence);
  }
  void finished(const EngineUsage& /*usage_*/) override { throw_at(3); }
  void failed(const Error& /*error*/) override { throw std::runtime_error("from failed()"); }
  int calls_after = 0;

 private:
  void throw_at(int where) {
    if (thrown_) ++calls_after;
    if (where != where_) return;
    thrown_ = true;
    throw std::runtime_error("from a listener");
  }
  int where_;
  bool thrown_ = false;
};

TEST(SchedulerEndings, AListenerThatThrowsHarmsNobodyElse) {
  for (int where = 0; where < 4; ++where) {
    Harness harness;
    auto thrower = std::make_shared<Thrower>(where);
    EngineRequest request;
    request.prompt_ids = numbered_prompt(4);
    request.generation = greedy(5);
    harness.add(request, thrower);
    const auto good = harness.submit(numbered_prompt(4, 1), greedy(10));
    harness.run();
    EXPECT_TRUE(good->done);
    EXPECT_EQ(thrower->calls_after, 0);
    EXPECT_EQ(harness.scheduler.metrics().requests_failed, 1U);
  }
  Harness harness;
  auto thrower = std::make_shared<Thrower>(4);
  EngineRequest request;
  request.prompt_ids = numbered_prompt(4);
  request.generation = greedy(5);
  const uint64_t number = harness.add(request, thrower);
  harness.advance();
  harness.scheduler.end(number, Error(ErrorCode::cancelled, "cancelled"));
  EXPECT_TRUE(harness.scheduler.idle());
}

TEST(SchedulerEndings, RefusesWhatGenerateRefuses) {
  Harness harness;
  const auto message = [&](const EngineRequest& request) -> std::string {
    try {
      harness.submit(request);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "";
  };
  EngineRequest request;
  request.generation = greedy(3);
  EXPECT_NE(message(request).find("empty"), std::string::npos);
  request.prompt_ids = {1, 99};
  EXPECT_NE(message(request).find("99"), std::string::npos);
  request.prompt_ids = {1, 2};
  request.generation.num_beams = 3;
  EXPECT_NE(message(request).find("beam"), std::string::npos);
  request.generation.num_beams = 1;
  request.best_of = 2;
  EXPECT_NE(message(request).find("best_of"), std::string::npos);
  request.best_of = 0;
  request.generation.stop_strings = {"x"};
  EXPECT_NE(message(request).find("tokenizer"), std::string::npos);
  request.generation.stop_strings.clear();
  request.timeout_seconds = -1;
  EXPECT_NE(message(request).find("timeout"), std::string::npos);
}

}  // namespace
}  // namespace bamba::test
