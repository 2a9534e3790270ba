// The cache of states in memory: against a plain map, and its promises about bytes and about who goes first.
#include "engine/radix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "generation/memory_ledger.h"
#include "generation/script_model.h"
#include "support/error.h"

namespace bamba {
namespace {

using test::Ids;
using test::ScriptModel;
using test::ScriptState;

constexpr size_t kId = sizeof(int64_t);  // bytes of a script state's token

ScriptModel script() {
  return {8, test::hashed_logits()};
}

void put(StateCache& cache, const Ids& ids, SnapshotKind kind = SnapshotKind::prompt_end) {
  ScriptState state;
  state.ids = ids;
  cache.insert(ids, state, kind);
}

/// The length that find() gives for the whole text; checks that the state is the right one.
int64_t find(StateCache& cache, const Ids& ids, int64_t max_length = 1'000'000) {
  CacheHit hit = cache.find(ids, max_length);
  if (!hit.state) {
    EXPECT_EQ(hit.length, 0);
    return 0;
  }
  EXPECT_EQ(static_cast<ScriptState&>(*hit.state).ids, Ids(ids.begin(), ids.begin() + hit.length));
  return hit.length;
}

Ids numbers(int64_t first, int64_t count) {
  Ids out;
  for (int64_t i = 0; i < count; ++i) out.push_back(first + i);
  return out;
}

TEST(RadixCache, FindsTheLongestBeginningAsAMapDoes) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ScriptModel model = script();
    const auto cache = make_state_cache(model, {.bytes = size_t{1} << 20, .state_dir = {}});
    std::set<Ids> texts;
    size_t bytes = 0;
    const auto text = [&] {
      Ids ids;
      if (!texts.empty() && random() % 2 == 0) {
        ids = *std::next(texts.begin(), static_cast<int64_t>(random() % texts.size()));
        ids.resize(random() % (ids.size() + 1));
      }
      for (size_t more = random() % 6; more > 0; --more) ids.push_back(static_cast<int64_t>(random() % 3));
      return ids;
    };
    for (int step = 0; step < 150; ++step) {
      const Ids ids = text();
      put(*cache, ids, static_cast<SnapshotKind>(random() % 4));
      if (!ids.empty() && texts.insert(ids).second) bytes += ids.size() * kId;
      const Ids asked = text();
      const auto limit = static_cast<int64_t>(random() % (asked.size() + 2));
      int64_t expected = 0;
      int64_t shared = 0;
      for (const Ids& known : texts) {
        const auto common = std::mismatch(asked.begin(), asked.end(), known.begin(), known.end()).first - asked.begin();
        shared = std::max<int64_t>(shared, common);
        const auto length = static_cast<int64_t>(known.size());
        if (common == length && length <= limit) expected = std::max(expected, length);
      }
      ASSERT_EQ(find(*cache, asked, limit), expected);
      ASSERT_EQ(cache->shared_length(asked), shared);
      ASSERT_EQ(cache->stats().bytes, bytes);
      ASSERT_EQ(cache->stats().snapshots, texts.size());
    }
    EXPECT_EQ(cache->stats().evictions, 0U);
  }
}

TEST(RadixCache, NeverHoldsMoreThanItsBytesAndKeepsTheNewest) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ScriptModel model = script();
    const size_t budget = 60 * kId;
    const auto cache = make_state_cache(model, {.bytes = budget, .state_dir = {}});
    uint64_t kept = 0;
    for (int step = 0; step < 300; ++step) {
      Ids ids;
      for (size_t count = 1 + random() % 12; count > 0; --count) ids.push_back(static_cast<int64_t>(random() % 2));
      const uint64_t evictions = cache->stats().evictions;
      const uint64_t snapshots = cache->stats().snapshots;
      put(*cache, ids, static_cast<SnapshotKind>(random() % 4));
      const StateCacheStats stats = cache->stats();
      ASSERT_LE(stats.bytes, budget);
      kept = snapshots + 1 - (stats.evictions - evictions);
      ASSERT_TRUE(stats.snapshots == kept || (stats.snapshots == snapshots && stats.evictions == evictions));
      ASSERT_EQ(find(*cache, ids), static_cast<int64_t>(ids.size())) << "the newest snapshot is not there";
      if (random() % 3 == 0) find(*cache, Ids{1, 0, 1});
    }
    EXPECT_GT(cache->stats().evictions, 0U);
  }
}

TEST(RadixCache, ASnapshotLargerThanTheBudgetIsNotKeptButItsTextIsKnown) {
  ScriptModel model = script();
  const auto cache = make_state_cache(model, {.bytes = 10 * kId, .state_dir = {}});
  put(*cache, numbers(0, 5));
  put(*cache, numbers(0, 11));
  EXPECT_EQ(cache->stats().snapshots, 1U);
  EXPECT_EQ(cache->stats().evictions, 0U) << "others made way for what cannot be kept";
  EXPECT_EQ(find(*cache, numbers(0, 11)), 5);
  EXPECT_EQ(cache->shared_length(numbers(0, 20)), 11);
}

TEST(RadixCache, TheLongestUnusedGoesFirst) {
  ScriptModel model = script();
  const auto cache = make_state_cache(model, {.bytes = 30 * kId, .state_dir = {}});
  const Ids a = numbers(100, 10);
  const Ids b = numbers(200, 10);
  const Ids c = numbers(300, 10);
  for (const Ids& ids : {a, b, c}) {
    find(*cache, ids);
    put(*cache, ids);
  }
  EXPECT_EQ(find(*cache, a), 10);
  find(*cache, numbers(400, 10));
  put(*cache, numbers(400, 10));
  EXPECT_EQ(find(*cache, b), 0);
  EXPECT_EQ(find(*cache, a), 10);
  EXPECT_EQ(find(*cache, c), 10);
  EXPECT_EQ(cache->shared_length(b), 10) << "that there was such a text is still known";
}

TEST(RadixCache, AmongEquallyUsedTheKindDecides) {
  ScriptModel model = script();
  const auto cache = make_state_cache(model, {.bytes = 40 * kId, .state_dir = {}});
  put(*cache, numbers(100, 10), SnapshotKind::reply_end);
  put(*cache, numbers(200, 10), SnapshotKind::junction);
  put(*cache, numbers(300, 10), SnapshotKind::stride);
  put(*cache, numbers(400, 10), SnapshotKind::prompt_end);
  put(*cache, numbers(500, 10), SnapshotKind::stride);
  EXPECT_EQ(find(*cache, numbers(300, 10)), 0);
  put(*cache, numbers(600, 20), SnapshotKind::reply_end);
  EXPECT_EQ(find(*cache, numbers(500, 10)), 0);
  EXPECT_EQ(find(*cache, numbers(200, 10)), 0);
  EXPECT_EQ(find(*cache, numbers(400, 10)), 10);
  EXPECT_EQ(find(*cache, numbers(100, 10)), 10);
}

TEST(RadixCache, StridesThatALongerOneFollowedAreThinnedFirstUnlessUsed) {
  ScriptModel model = script();
  const auto cache = make_state_cache(model, {.bytes = 62 * kId, .state_dir = {}});
  const Ids old = numbers(500, 2);
  put(*cache, old, SnapshotKind::prompt_end);
  const Ids text = numbers(0, 30);
  const auto beginning = [&](int64_t length) { return Ids(text.begin(), text.begin() + length); };
  find(*cache, text);
  put(*cache, beginning(10), SnapshotKind::stride);
  put(*cache, beginning(20), SnapshotKind::stride);
  EXPECT_EQ(find(*cache, beginning(15)), 10);  // a text that leaves here: no mere stride any more
  put(*cache, text, SnapshotKind::prompt_end);
  EXPECT_EQ(cache->stats().evictions, 0U);
  put(*cache, numbers(700, 10), SnapshotKind::prompt_end);
  EXPECT_EQ(find(*cache, beginning(25)), 10) << "the stride at 20 had to go";
  EXPECT_EQ(find(*cache, old), 2) << "an older snapshot that is no stride had to stay";
  EXPECT_EQ(cache->stats().evictions, 1U);
}

TEST(RadixCache, TheSameTextAgainReplacesNothing) {
  ScriptModel model = script();
  const auto cache = make_state_cache(model, {.bytes = 100 * kId, .state_dir = {}});
  put(*cache, numbers(0, 10), SnapshotKind::stride);
  const StateCacheStats before = cache->stats();
  put(*cache, numbers(0, 10), SnapshotKind::reply_end);
  EXPECT_EQ(cache->stats().bytes, before.bytes);
  EXPECT_EQ(cache->stats().snapshots, 1U);
  EXPECT_EQ(cache->stats().evictions, 0U);
}

TEST(RadixCache, TheTreesOwnMemoryIsBounded) {
  ScriptModel model = script();
  StateCacheOptions options{.bytes = 64 * kId, .state_dir = {}};
  options.tree_bytes = 64 << 10;
  const auto cache = make_state_cache(model, options);
  // Far more ids than 64 KiB hold, all in texts whose snapshots are evicted.
  for (int64_t i = 0; i < 2000; ++i) put(*cache, numbers(i * 1000, 50));
  int64_t known = 0;
  for (int64_t i = 0; i < 2000; ++i) known += cache->shared_length(numbers(i * 1000, 50)) > 0 ? 1 : 0;
  EXPECT_LE(known * 50 * static_cast<int64_t>(kId), 64 << 10);
  EXPECT_GT(known, 20);
  EXPECT_EQ(cache->shared_length(numbers(1999 * 1000, 50)), 50) << "the newest is known";
  // Snapshots whose ids alone are too many for the tree go, too: 30 of 500 ids are 120 kB.
  options.bytes = size_t{1} << 20;
  const auto wide = make_state_cache(model, options);
  for (int64_t i = 0; i < 30; ++i) put(*wide, numbers(i * 1000, 500));
  EXPECT_LE(wide->stats().bytes, size_t{64} << 10);
  EXPECT_EQ(find(*wide, numbers(29 * 1000, 500)), 500);
}

TEST(RadixCache, AStateOfAnotherTextIsRefused) {
  ScriptModel model = script();
  const auto cache = make_state_cache(model, {.bytes = 100, .state_dir = {}});
  ScriptState state;
  state.ids = {1, 2};
  test::expect_error(ErrorCode::internal, {"2", "3"}, [&] {
    cache->insert(Ids{1, 2, 3}, state, SnapshotKind::stride);
  });
}

TEST(MemoryLedger, CountsWhatIsSharedOnce) {
  ScriptState a;
  ScriptState b;
  a.ids = {1, 2, 3};
  b.ids = {4};
  MemoryLedger ledger;
  ledger.add(a);
  ledger.add(a);
  EXPECT_EQ(ledger.bytes(), 3 * kId);
  EXPECT_EQ(ledger.missing(a), 0U);
  EXPECT_EQ(ledger.missing(b), kId);
  ledger.add(b);
  ledger.remove(a);
  EXPECT_EQ(ledger.bytes(), 4 * kId);
  ledger.remove(a);
  EXPECT_EQ(ledger.bytes(), kId);
  ledger.clear();
  EXPECT_EQ(ledger.bytes(), 0U);
}

}  // namespace
}  // namespace bamba
