// Norms, gates and rotary embeddings against the float64 reference.
#include "backend/reference.h"
#include "backend/support.h"

namespace bamba::backend {
namespace {

using testing::Random;
using testing::Rows;

// f32 statistics over a few hundred elements and a 2-ulp exponential; relative to the largest entry's size.
constexpr double kTolerance = 4e-6;

TEST(CpuRowwise, RmsNormMatchesReference) {
  const auto cpu = make_cpu_backend(2);
  Random random(10);
  for (int64_t cols = 1; cols <= 70; ++cols) {
    const float scale = random.below(2) == 0 ? 1.0f : 1e-3f;
    Rows in = Rows::normals(random, 3, cols, scale);
    Rows out(3, cols);
    const auto weight = random.normals(cols);
    cpu->rms_norm(in.view(), weight.data(), 1e-5f, out.view());
    ASSERT_TRUE(out.padding_intact());
    Rows inplace = in;
    cpu->rms_norm(inplace.view(), weight.data(), 1e-5f, inplace.view());
    ASSERT_TRUE(testing::same_bits(inplace.values(), out.values()));
    for (int64_t r = 0; r < 3; ++r) {
      std::vector<double> row;
      for (int64_t c = 0; c < cols; ++c) row.push_back(in.at(r, c));
      reference::rms_norm(row, weight.data(), 1e-5f, 1);
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_NEAR(out.at(r, c), row[static_cast<size_t>(c)],
                    kTolerance * (1 + std::abs(row[static_cast<size_t>(c)])));
      }
    }
  }
}

TEST(CpuRowwise, GatedNormGatesFirstAndNormsPerGroup) {
  const auto cpu = make_cpu_backend(2);
  Random random(11);
  for (const int64_t groups : {1, 2, 3, 8}) {
    for (const int64_t width : {1, 5, 16, 17, 100}) {
      const int64_t cols = groups * width;
      Rows y = Rows::normals(random, 4, cols);
      Rows gate = Rows::normals(random, 4, cols, 3);
      gate.at(0, 0) = -200;  // silu at both ends: no overflow
      gate.at(1, 0) = 200;
      const auto weight = random.normals(cols);
      Rows out = y;
      cpu->gated_rms_norm(out.view(), gate.view(), weight.data(), 1e-5f, groups);
      ASSERT_TRUE(out.padding_intact());
      for (int64_t r = 0; r < 4; ++r) {
        std::vector<double> row;
        for (int64_t c = 0; c < cols; ++c) {
          row.push_back(y.at(r, c) * reference::activate(gate.at(r, c), Activation::silu));
        }
        reference::rms_norm(row, weight.data(), 1e-5f, groups);
        for (int64_t c = 0; c < cols; ++c) {
          const double expected = row[static_cast<size_t>(c)];
          ASSERT_NEAR(out.at(r, c), expected, kTolerance * (1 + std::abs(expected))) << groups << " " << width;
        }
      }
    }
  }
}

TEST(CpuRowwise, GatedActivationMatchesReference) {
  const auto cpu = make_cpu_backend(2);
  Random random(12);
  for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
    for (int64_t cols = 1; cols <= 40; ++cols) {
      Rows gate = Rows::normals(random, 5, cols, 4);
      for (int64_t r = 0; r < 4; ++r)
        gate.at(r, cols - 1) = std::vector<float>{-100, 100, 0, -12}[static_cast<size_t>(r)];
      Rows up = Rows::normals(random, 5, cols);
      Rows out = gate;
      cpu->gated_activation(out.view(), up.view(), activation);
      ASSERT_TRUE(out.padding_intact());
      for (int64_t r = 0; r < 5; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const double factor = reference::activate(gate.at(r, c), activation);
          // gelu loses the tail's relative accuracy in 1 + erf(x) (as torch does): absolute in the input's size.
          ASSERT_NEAR(out.at(r, c), factor * up.at(r, c),
                      1e-6 * (std::abs(factor) + 0.2 * std::abs(gate.at(r, c))) * std::abs(up.at(r, c)))
              << static_cast<int>(activation) << " at " << gate.at(r, c);
        }
      }
    }
  }
}

TEST(CpuRowwise, RotateTurnsTheFirstDimsOfEachHead) {
  const auto cpu = make_cpu_backend(2);
  Random random(13);
  for (const int64_t head_dim : {4, 6, 16, 34, 64, 80, 128, 130}) {
    const int64_t rotary = head_dim / 4 * 2;
    const int64_t n_heads = random.between(1, 5);
    Rows heads = Rows::normals(random, 7, n_heads * head_dim);
    Rows out = heads;
    std::vector<float> table;
    for (int64_t r = 0; r < 7; ++r) {
      std::vector<float> sines;
      for (int64_t j = 0; j < rotary / 2; ++j) {
        const double angle = random.normal(3);
        table.push_back(static_cast<float>(std::cos(angle)));
        sines.push_back(static_cast<float>(std::sin(angle)));
      }
      table.insert(table.end(), sines.begin(), sines.end());
    }
    cpu->rotate(out.view(), n_heads, head_dim, rotary, table.data());
    ASSERT_TRUE(out.padding_intact());
    for (int64_t r = 0; r < 7; ++r) {
      for (int64_t h = 0; h < n_heads; ++h) {
        for (int64_t e = 0; e < head_dim; ++e) {
          const int64_t at = h * head_dim + e;
          double expected = heads.at(r, at);
          if (e < rotary) {
            const int64_t half = rotary / 2;
            const int64_t j = e % half;
            const double c = table[static_cast<size_t>(r * rotary + j)];
            const double s = table[static_cast<size_t>(r * rotary + half + j)];
            expected = e < half ? expected * c - heads.at(r, at + half) * s : expected * c + heads.at(r, at - half) * s;
          } else {
            ASSERT_EQ(out.at(r, at), heads.at(r, at));
          }
          ASSERT_NEAR(out.at(r, at), expected, 1e-6);  // two roundings of products of a few units
        }
      }
    }
  }
}

TEST(CpuRowwise, BestColumnIsTheFirstOfTheLargest) {
  const auto cpu = make_cpu_backend(2);
  Random random(15);
  for (const int64_t cols : {1, 2, 7, 15, 16, 17, 33, 4096, 5003}) {
    Rows in = Rows::normals(random, 9, cols);
    const int64_t first = random.below(cols);
    const int64_t second = random.between(first, cols - 1);
    in.at(1, first) = in.at(1, second) = 100;
    for (int64_t c = 0; c < cols; ++c) in.at(2, c) = -3;
    in.at(3, first) = in.at(3, second) = std::numeric_limits<float>::quiet_NaN();
    in.at(4, first) = in.at(4, second) = std::numeric_limits<float>::infinity();
    in.at(5, first) = in.at(5, second) = -std::numeric_limits<float>::infinity();
    in.at(6, cols - 1) = 100;
    std::vector<int64_t> best(9, -7);
    cpu->best_columns(in.view(), best);
    EXPECT_EQ(best[1], first) << cols;
    EXPECT_EQ(best[2], 0) << cols;
    for (const size_t r : {3U, 4U, 5U}) EXPECT_EQ(best[r], -1 - first) << cols;
    EXPECT_EQ(best[6], cols - 1);
    for (const int64_t r : {0, 7, 8}) {
      int64_t expected = 0;
      for (int64_t c = 1; c < cols; ++c) {
        if (in.at(r, c) > in.at(r, expected)) expected = c;
      }
      EXPECT_EQ(best[static_cast<size_t>(r)], expected) << cols;
    }
  }
}

TEST(CpuRowwise, RowsDoNotDependOnThreads) {
  Random random(14);
  const int64_t cols = 600;
  Rows in = Rows::normals(random, 200, cols);
  Rows gate = Rows::normals(random, 200, cols);
  const auto weight = random.normals(cols);
  std::vector<float> expected;
  for (int threads = 1; threads <= 8; ++threads) {
    const auto cpu = make_cpu_backend(threads);
    Rows out = in;
    cpu->gated_rms_norm(out.view(), gate.view(), weight.data(), 1e-5f, 2);
    cpu->gated_activation(out.view(), gate.view(), Activation::gelu_tanh);
    cpu->rms_norm(out.view(), weight.data(), 1e-5f, out.view());
    if (threads == 1) expected = out.values();
    ASSERT_TRUE(testing::same_bits(out.values(), expected));
  }
}

}  // namespace
}  // namespace bamba::backend
