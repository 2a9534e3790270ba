#include "engine/cut_points.h"

#include <gtest/gtest.h>

#include <vector>

namespace bamba {
namespace {

using Cuts = std::vector<CutPoint>;
constexpr auto kJunction = SnapshotKind::junction;
constexpr auto kStride = SnapshotKind::stride;
constexpr auto kEnd = SnapshotKind::prompt_end;

TEST(CutPoints, ThePromptsEndLeavesATokenToRun) {
  EXPECT_EQ(cut_points({.prompt_length = 100}), (Cuts{{99, kEnd}}));
  EXPECT_EQ(cut_points({.prompt_length = 17}), (Cuts{{16, kEnd}}));
  EXPECT_EQ(cut_points({.prompt_length = 16}), Cuts{});
  EXPECT_EQ(cut_points({.prompt_length = 1}), Cuts{});
  // What starts from a snapshot close by keeps none.
  EXPECT_EQ(cut_points({.prompt_length = 100, .held = 90}), Cuts{});
  EXPECT_EQ(cut_points({.prompt_length = 100, .held = 80}), (Cuts{{99, kEnd}}));
}

TEST(CutPoints, WhereThePromptLeavesAnother) {
  EXPECT_EQ(cut_points({.prompt_length = 100, .shared = 40}), (Cuts{{40, kJunction}, {99, kEnd}}));
  EXPECT_EQ(cut_points({.prompt_length = 100, .held = 40, .shared = 40}), (Cuts{{99, kEnd}}));
  EXPECT_EQ(cut_points({.prompt_length = 100, .shared = 100}), (Cuts{{99, kJunction}}));
  EXPECT_EQ(cut_points({.prompt_length = 100, .shared = 90}), (Cuts{{90, kJunction}}));
  EXPECT_EQ(cut_points({.prompt_length = 100, .shared = 5}), (Cuts{{99, kEnd}}));
}

TEST(CutPoints, PointsAskedFor) {
  const std::vector<int64_t> points = {300, -5, 20, 20, 150, 170, 400, 1000};
  EXPECT_EQ(cut_points({.prompt_length = 400, .asked = points, .spacing = 64}),
            (Cuts{{20, kJunction}, {150, kJunction}, {300, kJunction}, {399, kEnd}}));
  EXPECT_EQ(cut_points({.prompt_length = 400, .held = 150, .asked = points, .spacing = 16}),
            (Cuts{{170, kJunction}, {300, kJunction}, {399, kEnd}}));
}

TEST(CutPoints, Strides) {
  EXPECT_EQ(cut_points({.prompt_length = 250, .stride = 100, .spacing = 20}),
            (Cuts{{100, kStride}, {200, kStride}, {249, kEnd}}));
  EXPECT_EQ(cut_points({.prompt_length = 250, .held = 120, .stride = 100, .spacing = 20}),
            (Cuts{{200, kStride}, {249, kEnd}}));
  // A snapshot nearby does as well.
  EXPECT_EQ(cut_points({.prompt_length = 250, .shared = 190, .stride = 100, .spacing = 20}),
            (Cuts{{100, kStride}, {190, kJunction}, {249, kEnd}}));
}

TEST(CutPoints, RisingInRangeAndApart) {
  uint64_t seed = 1;
  const auto random = [&](int64_t bound) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return static_cast<int64_t>((seed >> 33) % static_cast<uint64_t>(bound));
  };
  for (int round = 0; round < 2000; ++round) {
    const int64_t length = 1 + random(600);
    const int64_t held = random(length);
    std::vector<int64_t> points;
    for (int64_t i = random(8); i > 0; --i) points.push_back(random(700) - 50);
    const auto cuts = cut_points({.prompt_length = length,
                                  .held = held,
                                  .shared = random(length + 1),
                                  .asked = points,
                                  .stride = random(3) * 50,
                                  .spacing = random(80)});
    int64_t before = held;
    for (const CutPoint& cut : cuts) {
      EXPECT_GE(cut.length - before, kNearSnapshot);
      EXPECT_LT(cut.length, length);
      before = cut.length;
    }
  }
}

}  // namespace
}  // namespace bamba
