// The yardstick for integer arithmetic.
#include "backend/cpu/int8_peak.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/stopwatch.h"

namespace bamba::backend::cpu {
namespace {

TEST(Int8Peak, TheLastOneRunsAnywhereAndTheBestIsTheFirstThatRuns) {
  EXPECT_TRUE(int8_peaks().back().available());
  for (const Int8Peak& peak : int8_peaks()) {
    if (!peak.available()) continue;
    EXPECT_EQ(peak.instruction, best_int8_peak().instruction);
    break;
  }
}

TEST(Int8Peak, WorkGrowsWithRounds) {
  for (const Int8Peak& peak : int8_peaks()) {
    if (!peak.available()) continue;
    const auto best_of = [&](int64_t rounds) {
      double best = 1e9;
      for (int i = 0; i < 5; ++i) {
        const Stopwatch watch;
        peak.run(rounds);
        best = std::min(best, watch.seconds());
      }
      return best;
    };
    EXPECT_GT(peak.ops_per_round, 0);
    // A loop that a compiler had emptied would take as long for a hundred times the rounds.
    EXPECT_GT(best_of(200'000), 10 * best_of(2'000)) << peak.instruction;
  }
}

}  // namespace
}  // namespace bamba::backend::cpu
