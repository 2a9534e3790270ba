// The divergence of one distribution from another, against values computed by hand.
#include "model/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace bamba::test {
namespace {

TEST(KlDivergence, ByHand) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): 1/2 log 2 - 1/4 log 2.
  const std::vector<float> p{std::log(2.0F), 0, 0};
  const std::vector<float> q{5, 5 + std::log(2.0F), 5};  // a constant added to logits changes nothing
  EXPECT_NEAR(kl_divergence(p, q), 0.25 * std::log(2.0), 1e-7);
  EXPECT_EQ(kl_divergence(p, p), 0);
}

TEST(KlDivergence, IsOfTheReferenceFromTheOther) {
  // p = (3/4, 1/4), q = (1/2, 1/2): not symmetric.
  const std::vector<float> p{std::log(3.0F), 0};
  const std::vector<float> q{0, 0};
  EXPECT_NEAR(kl_divergence(p, q), 0.75 * std::log(1.5) + 0.25 * std::log(0.5), 1e-7);
  EXPECT_NEAR(kl_divergence(q, p), 0.5 * std::log(2.0 / 3) + 0.5 * std::log(2.0), 1e-7);
}

TEST(KlDivergence, ExtremeLogits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> ruled_out{0, -kInfinity};
  const std::vector<float> even{0, 0};
  EXPECT_NEAR(kl_divergence(ruled_out, even), std::log(2.0), 1e-12);
  EXPECT_EQ(kl_divergence(ruled_out, ruled_out), 0);
  EXPECT_EQ(kl_divergence(even, ruled_out), kInfinity);
  const std::vector<float> far{1e4F, -1e4F};
  EXPECT_NEAR(kl_divergence(far, even), std::log(2.0), 1e-12);
  const std::vector<float> broken{0, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(kl_divergence(broken, even)));
  EXPECT_TRUE(std::isnan(kl_divergence(even, broken)));
}

}  // namespace
}  // namespace bamba::test
