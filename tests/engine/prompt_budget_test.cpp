#include "engine/prompt_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

namespace bamba {
namespace {

struct Prompt {
  uint64_t number;
  int64_t left;
  int priority = 0;
  int64_t start = 0;
  int64_t available = -1;  // as many as are left
};

std::map<uint64_t, int64_t> dealt(const std::vector<Prompt>& prompts, int64_t budget, int64_t multiple = 1) {
  std::vector<PromptShare> shares;
  for (const Prompt& prompt : prompts) {
    shares.push_back({.priority = prompt.priority,
                      .number = prompt.number,
                      .start = prompt.start,
                      .left = prompt.left,
                      .available = prompt.available < 0 ? prompt.left : prompt.available});
  }
  share_prompt_budget(shares, budget, multiple);
  std::map<uint64_t, int64_t> out;
  int64_t total = 0;
  for (const PromptShare& share : shares) {
    out[share.number] = share.given;
    EXPECT_LE(share.given, share.available);
    total += share.given;
  }
  EXPECT_LE(total, budget);
  return out;
}

using Dealt = std::map<uint64_t, int64_t>;

TEST(PromptBudget, OnePromptTakesAll) {
  EXPECT_EQ(dealt({{1, 1000}}, 256), (Dealt{{1, 256}}));
  EXPECT_EQ(dealt({{1, 100}}, 256), (Dealt{{1, 100}}));
  EXPECT_EQ(dealt({}, 256), Dealt{});
  EXPECT_EQ(dealt({{1, 5}}, 0), (Dealt{{1, 0}}));
}

TEST(PromptBudget, HalfForTheOldestHalfForTheShortest) {
  EXPECT_EQ(dealt({{1, 1000}, {2, 500}, {3, 60}}, 200), (Dealt{{1, 100}, {2, 40}, {3, 60}}));
  // What the oldest cannot use is the others'.
  EXPECT_EQ(dealt({{1, 10}, {2, 500}, {3, 400}}, 200), (Dealt{{1, 10}, {2, 0}, {3, 190}}));
}

TEST(PromptBudget, EqualsInOrderOfArrival) {
  EXPECT_EQ(dealt({{3, 100}, {2, 100}, {1, 100}}, 200), (Dealt{{1, 100}, {2, 100}, {3, 0}}));
}

TEST(PromptBudget, HighPriorityFirst) {
  EXPECT_EQ(dealt({{1, 1000}, {2, 150, 5}}, 200), (Dealt{{1, 50}, {2, 150}}));
  EXPECT_EQ(dealt({{1, 1000}, {2, 1000, 5}}, 200), (Dealt{{1, 0}, {2, 200}}));
}

TEST(PromptBudget, NoMoreThanIsAvailable) {
  EXPECT_EQ(dealt({{1, 1000, 0, 0, 30}, {2, 1000, 0, 0, 0}, {3, 2000}}, 200), (Dealt{{1, 30}, {2, 0}, {3, 170}}));
}

TEST(PromptBudget, CutsAtMultiplesWhereOneCanBeReached) {
  EXPECT_EQ(dealt({{1, 1000}}, 200, 64), (Dealt{{1, 192}}));
  EXPECT_EQ(dealt({{1, 1000, 0, 40}}, 200, 64), (Dealt{{1, 152}}));  // 40 + 152 = 3 * 64
  EXPECT_EQ(dealt({{1, 150}}, 200, 64), (Dealt{{1, 150}}));          // its end is no cut
  EXPECT_EQ(dealt({{1, 1000}}, 50, 64), (Dealt{{1, 50}}));           // none in reach
}

TEST(PromptBudget, NobodyStarves) {
  // A long prompt comes to its end under a stream of short ones, and each short one is read at once.
  int64_t long_left = 10000;
  int steps = 0;
  for (uint64_t next = 2; long_left > 0; ++next, ++steps) {
    const auto given = dealt({{1, long_left}, {next, 100}}, 200);
    EXPECT_EQ(given.at(next), 100);
    long_left -= given.at(1);
  }
  EXPECT_EQ(steps, 100);
}

}  // namespace
}  // namespace bamba
