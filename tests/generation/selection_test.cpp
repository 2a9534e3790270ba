// Picking and drawing tokens, held against sorting everything; the random numbers against their published answers.
#include "generation/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "generation/random.h"
#include "generation/sampler.h"
#include "generation/warpers.h"
#include "model/loss.h"

namespace bamba {
namespace {

/// Scores with many equals, so that ties are met.
std::vector<float> random_scores(std::mt19937& rng, size_t size, int levels) {
  std::vector<float> scores(size);
  for (float& score : scores) score = static_cast<float>(static_cast<int>(rng() % static_cast<unsigned>(levels))) / 8;
  return scores;
}

TEST(Selection, KthLargestIsWhatSortingGives) {
  std::mt19937 rng(1);
  std::vector<float> scratch;
  for (int round = 0; round < 400; ++round) {
    const auto scores = random_scores(rng, 1 + rng() % 3000, 1 + static_cast<int>(rng() % 5000));
    const size_t k = 1 + rng() % scores.size();
    auto sorted = scores;
    std::ranges::sort(sorted, std::greater<>());
    EXPECT_EQ(kth_largest(scores, k, scratch), sorted[k - 1]) << "k " << k << " of " << scores.size();
  }
}

TEST(Selection, TopSelectorKeepsTheBestAndTheLowestIds) {
  std::mt19937 rng(2);
  TopSelector selector;
  for (int round = 0; round < 300; ++round) {
    const size_t limit = 1 + rng() % 20;
    selector.start(limit);
    std::vector<Candidate> all;
    int64_t base = 0;
    for (size_t row = 0; row < 1 + rng() % 3; ++row) {
      const auto scores = random_scores(rng, 1 + rng() % 300, 40);
      const float addend = static_cast<float>(rng() % 5);
      selector.offer(scores, addend, base);
      for (size_t i = 0; i < scores.size(); ++i) all.push_back({base + static_cast<int64_t>(i), scores[i] + addend});
      base += static_cast<int64_t>(scores.size());
    }
    std::ranges::sort(all, better);
    const auto got = selector.take();
    ASSERT_EQ(got.size(), std::min(limit, all.size()));
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].id, all[i].id);
      EXPECT_EQ(got[i].score, all[i].score);
    }
  }
}

TEST(Selection, VisitInOrderGoesThroughAllAndStopsWhenTold) {
  std::mt19937 rng(3);
  for (const size_t size : {0U, 1U, 63U, 64U, 65U, 1000U, 5000U}) {
    std::vector<uint32_t> items(size);
    for (auto& item : items) item = static_cast<uint32_t>(rng() % 700);
    auto sorted = items;
    std::ranges::sort(sorted);
    for (const size_t stop : {size, size / 2}) {
      std::vector<uint32_t> seen;
      auto work = items;
      visit_in_order(std::span(work), std::less<>(), [&](uint32_t item) {
        seen.push_back(item);
        return seen.size() < stop;
      });
      const size_t wanted = std::min(size, std::max<size_t>(stop, 1));
      EXPECT_EQ(seen, std::vector<uint32_t>(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(wanted)));
    }
  }
}

TEST(Philox, KnownAnswers) {
  // From the authors' known-answer file (Random123, kat_vectors, "philox4x32 10").
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, EveryPartOfTheKeyMatters) {
  const double base = uniform_draw(7, 1, 2, 3, 4);
  EXPECT_EQ(base, uniform_draw(7, 1, 2, 3, 4));
  EXPECT_NE(base, uniform_draw(8, 1, 2, 3, 4));
  EXPECT_NE(base, uniform_draw(7 + (uint64_t{1} << 32), 1, 2, 3, 4));
  EXPECT_NE(base, uniform_draw(7, 2, 2, 3, 4));
  EXPECT_NE(base, uniform_draw(7, 1, 3, 3, 4));
  EXPECT_NE(base, uniform_draw(7, 1, 2, 4, 4));
  EXPECT_NE(base, uniform_draw(7, 1, 2, 3, 5));
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const std::vector<Candidate> candidates = {{3, 0.0F}, {4, 1.0F}, {7, -1.0F}, {9, 2.5F}, {11, -30.0F}};
  Sampler sampler;
  sampler.set(candidates);
  constexpr int kDraws = 100'000;
  std::vector<int> counts(candidates.size());
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.draw(uniform_draw(5, 0, 0, i))];
  double chi_squared = 0;
  double probability_sum = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const double expected = sampler.probability(i) * kDraws;
    probability_sum += sampler.probability(i);
    if (expected < 1) {
      EXPECT_LE(counts[i], 3);
      continue;
    }
    chi_squared += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_NEAR(probability_sum, 1.0, 1e-12);
  // Three degrees of freedom: a right sampler is below 16.3 with probability 0.999, and this seed is fixed.
  EXPECT_LT(chi_squared, 16.3);
}

TEST(Sampler, EndsOfTheRange) {
  const std::vector<Candidate> candidates = {{0, -INFINITY}, {1, 0.0F}, {2, 0.0F}, {3, -INFINITY}};
  Sampler sampler;
  sampler.set(candidates);
  EXPECT_EQ(sampler.draw(0.0), 1U);
  EXPECT_EQ(sampler.draw(0.49999), 1U);
  EXPECT_EQ(sampler.draw(0.5), 2U);
  EXPECT_EQ(sampler.draw(1.0), 2U);  // past the end by rounding
  sampler.remove(1);
  EXPECT_EQ(sampler.draw(0.0), 2U);
  sampler.remove(2);
  EXPECT_EQ(sampler.remaining(), 0.0);
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  std::mt19937 rng(7);
  for (int round = 0; round < 200; ++round) {
    const auto scores = random_scores(rng, 1 + rng() % 1000, 1 + static_cast<int>(rng() % 3000));
    EXPECT_EQ(greedy_token(scores), std::ranges::max_element(scores) - scores.begin());
  }
  EXPECT_EQ(greedy_token(std::vector<float>{1, 3, 3, 2, 3}), 1);
  EXPECT_EQ(greedy_token(std::vector<float>{-INFINITY, -5, -INFINITY}), 1);
}

TEST(Sampler, LogprobsAreTheLogSoftmax) {
  const std::vector<float> scores = {1, -INFINITY, 3, 2};
  TopSelector selector;
  const double log_sum = log_sum_exp(scores);
  EXPECT_NEAR(log_sum, std::log(std::exp(1.0) + std::exp(3.0) + std::exp(2.0)), 1e-12);
  const auto logprob = token_logprob(scores, log_sum, 3, 2, selector);
  EXPECT_EQ(logprob.logprob, 2 - log_sum);
  ASSERT_EQ(logprob.top.size(), 2U);
  EXPECT_EQ(logprob.top[0], (std::pair<int64_t, double>{2, 3 - log_sum}));
  EXPECT_EQ(logprob.top[1], (std::pair<int64_t, double>{3, 2 - log_sum}));
}

/// top_p as defined: sort upwards, remove while the cumulative probability is at most 1 - p.
std::vector<int64_t> plain_top_p(const std::vector<float>& scores, double top_p) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  const float best = scores[order.back()];
  double sum = 0;
  for (const float score : scores) sum += std::exp(score - best);
  double cumulative = 0;
  std::vector<int64_t> kept;
  for (size_t i = 0; i < order.size(); ++i) {
    cumulative += std::exp(scores[order[i]] - best) / static_cast<float>(sum);
    if (i + 1 == order.size() || static_cast<float>(cumulative) > static_cast<float>(1 - top_p)) {
      kept.push_back(static_cast<int64_t>(order[i]));
    }
  }
  std::ranges::sort(kept);
  return kept;
}

std::vector<int64_t> kept_ids(const WarperSettings& settings, std::vector<float> scores) {
  Warpers warpers(settings);
  std::vector<int64_t> ids;
  for (const Candidate& candidate : warpers.apply(scores)) ids.push_back(candidate.id);
  return ids;
}

TEST(Warpers, TopPFromTheTopEqualsSortingUpwards) {
  std::mt19937 rng(4);
  std::normal_distribution<float> normal(0, 3);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> scores(1 + rng() % 2000);
    for (float& score : scores) score = normal(rng);
    if (round % 2 == 1) scores = random_scores(rng, scores.size(), 60);  // with equals
    const double top_p = static_cast<double>(rng() % 1000) / 1000;
    EXPECT_EQ(kept_ids({.top_p = top_p}, scores), plain_top_p(scores, top_p)) << top_p;
  }
}

TEST(Warpers, TopKKeepsEqualsOfTheLast) {
  EXPECT_EQ(kept_ids({.top_k = 2}, {1, 5, 3, 3, 0, 3}), (std::vector<int64_t>{1, 2, 3, 5}));
  EXPECT_EQ(kept_ids({.top_k = 50}, {1, -INFINITY, 3}), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(kept_ids({.top_k = 2}, {-INFINITY, -INFINITY, 3}), (std::vector<int64_t>{2}));
}

TEST(Warpers, TopKOfManyIsWhatSortingGives) {
  std::mt19937 rng(6);
  for (int round = 0; round < 300; ++round) {
    auto scores = random_scores(rng, 40 + rng() % 4000, 1 + static_cast<int>(rng() % 3000));
    if (round % 3 == 0) std::ranges::sort(scores);  // the best all in the last blocks
    // Forbidden: a few, or all but a few.
    for (size_t i = 0; i < scores.size(); ++i) {
      if (rng() % 100 < (round % 4 == 0 ? 99U : 3U)) scores[i] = -INFINITY;
    }
    scores[rng() % scores.size()] = round % 5 == 0 ? 3e38F : 1.0F;
    const auto top_k = static_cast<int64_t>(1 + rng() % (scores.size() / 32 + 5));
    // The extremes make different scores equal.
    for (const double temperature : {1.0, 0.7, 1e-37, 1e38}) {
      std::vector<float> tempered = scores;
      for (float& score : tempered) {
        if (temperature != 1.0 && score != -INFINITY) {
          score = std::clamp(score / static_cast<float>(temperature), -3.4028235e38F, 3.4028235e38F);
        }
      }
      auto sorted = tempered;
      std::ranges::sort(sorted, std::greater<>());
      const float threshold = sorted[static_cast<size_t>(top_k) - 1];
      std::vector<Candidate> wanted;
      for (size_t i = 0; i < tempered.size(); ++i) {
        if (tempered[i] >= threshold && tempered[i] != -INFINITY) {
          wanted.push_back({static_cast<int64_t>(i), tempered[i]});
        }
      }
      auto row = scores;
      Warpers warpers({.temperature = temperature, .top_k = top_k});
      const auto kept = warpers.apply(row);
      ASSERT_EQ(kept.size(), wanted.size()) << "round " << round << " top_k " << top_k;
      for (size_t i = 0; i < kept.size(); ++i) {
        EXPECT_EQ(kept[i].id, wanted[i].id);
        EXPECT_EQ(kept[i].score, wanted[i].score);
      }
    }
  }
}

TEST(Warpers, AlwaysKeepAtLeastOne) {
  std::mt19937 rng(5);
  std::vector<WarperSettings> harsh = {{.temperature = 1e-6},
                                       {.temperature = 1e30},
                                       {.top_k = 1},
                                       {.top_p = 0.0},
                                       {.min_p = 1.0},
                                       {.typical_p = 1e-30},
                                       {.epsilon_cutoff = 0.999},
                                       {.eta_cutoff = 0.999},
                                       {.temperature = 1e-6,
                                        .top_k = 3,
                                        .top_p = 0.0,
                                        .min_p = 1.0,
                                        .typical_p = 1e-9,
                                        .epsilon_cutoff = 0.9,
                                        .eta_cutoff = 0.9}};
  for (WarperSettings settings : harsh) {
    for (const size_t least : {1U, 3U}) {
      settings.min_tokens_to_keep = least;
      for (int round = 0; round < 30; ++round) {
        auto scores = random_scores(rng, 1 + rng() % 200, 1 + static_cast<int>(rng() % 30));
        if (round % 3 == 0) scores[rng() % scores.size()] = 3e38F;
        if (round % 5 == 0) scores[rng() % scores.size()] = -3e38F;
        if (scores.size() > 1) scores[0] = -INFINITY;
        const size_t possible = scores.size() > 1 ? scores.size() - 1 : 1;
        const auto kept = kept_ids(settings, scores);
        EXPECT_GE(kept.size(), std::min(least, possible));
        EXPECT_TRUE(scores.size() == 1 || kept[0] != 0) << "a forbidden token was kept";
        EXPECT_TRUE(std::ranges::is_sorted(kept));
      }
    }
  }
}

}  // namespace
}  // namespace bamba
