// The norms against float64; a row's bits whatever rows are beside it.
#include "backend/cuda/norm.h"

#include "backend/reference.h"
#include "cuda/scan_support.h"

namespace bamba::backend::cuda {
namespace {

using namespace testing;

constexpr double kEps = 1e-5;

/// Sums of squares in f32 are good to a few ulps, the result has a handful of roundings of f32 and one of T.
template <typename T>
void expect_close(const std::vector<float>& got, const std::vector<double>& expected, int64_t cols) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double v = expected[i];
    ASSERT_NEAR(got[i], v, (4e-6 + 1.01 * kRounding<T>)*std::abs(v) + 1e-30) << "at " << i << " of rows of " << cols;
  }
}

template <typename T>
struct NormCase {
  int64_t rows;
  int64_t cols;
  int64_t gap;
  std::vector<float> residual;
  std::vector<float> add;
  std::vector<float> weight;

  NormCase(std::mt19937& engine, int64_t r, int64_t c, int64_t g)
      : rows(r),
        cols(c),
        gap(g),
        residual(normals(engine, static_cast<size_t>(r * c), 3)),
        add(rounded<T>(normals(engine, static_cast<size_t>(r * c)))),
        weight(normals(engine, static_cast<size_t>(c))) {}

  /// Rows [first, first + count): results, then the residual afterwards.
  std::pair<std::vector<float>, std::vector<float>> run(int64_t first, int64_t count, bool with_add) {
    DeviceRows<float> source(residual, rows, cols, cols + 2 * gap, gap);
    DeviceRows<T> more(add, rows, cols, cols + gap, 0);
    DeviceRows<T> out(count, cols, cols + gap, 0);
    const DeviceVector<float> weights(weight);
    rms_norm(nullptr, RmsNormArguments<T>{source.data() + first * source.stride(), source.stride(),
                                          with_add ? more.data() + first * more.stride() : nullptr, more.stride(),
                                          weights.data(), kEps, count, cols, out.data(), out.stride()});
    return {out.values(), source.values()};
  }

  void check(bool with_add) {
    auto sums = residual;
    if (with_add) {
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += add[i];
    }
    std::vector<double> expected;
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<double> row(sums.begin() + r * cols, sums.begin() + (r + 1) * cols);
      reference::rms_norm(row, weight.data(), kEps, 1);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    const auto [got, after] = run(0, rows, with_add);
    expect_close<T>(got, expected, cols);
    ASSERT_TRUE(same_bits(after, sums));
    ASSERT_TRUE(same_bits(run(rows - 1, 1, with_add).first, {got.end() - cols, got.end()}));
  }
};

template <typename T>
void expect_norms(unsigned seed) {
  std::mt19937 engine(seed);
  for (const int64_t cols : {1, 5, 64, 100, 1000, 2048, 2056, 4096, 8192, 16384, 20000}) {
    for (const int64_t gap : {8, 3}) {
      for (const bool with_add : {false, true}) {
        NormCase<T>(engine, 3, cols, gap).check(with_add);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(CudaRmsNorm, MatchesReferenceF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_norms<float>(10);
}
TEST(CudaRmsNorm, MatchesReferenceBf16) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_norms<__nv_bfloat16>(11);
}

TEST(CudaRmsNorm, OnlyTheSum) {
  BAMBA_SKIP_WITHOUT_GPU();
  for (const size_t cols : {12, 4096, 20000}) {
    DeviceVector<float> residual(std::vector<float>(cols, 1.0f));
    const DeviceVector<float> add(std::vector<float>(cols, 0.5f));
    const auto n = static_cast<int64_t>(cols);
    rms_norm(nullptr, RmsNormArguments<float>{residual.data(), n, add.data(), n, nullptr, 0, 1, n, nullptr, n});
    EXPECT_EQ(residual.host(), std::vector<float>(cols, 1.5f));
  }
}

/// In the place of the input when `in_place`.
template <typename T>
void expect_gated(std::mt19937& engine, int64_t rows, int64_t cols, int64_t groups, int64_t gap, bool in_place) {
  const auto count = static_cast<size_t>(rows * cols);
  const auto y = rounded<T>(normals(engine, count));
  const auto z = rounded<T>(normals(engine, count, 3));
  const auto weight = normals(engine, static_cast<size_t>(cols));
  const DeviceVector<float> weights(weight);
  std::vector<double> expected;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> row;
    for (int64_t c = 0; c < cols; ++c) {
      const auto i = static_cast<size_t>(r * cols + c);
      row.push_back(y[i] * reference::activate(z[i], Activation::silu));
    }
    reference::rms_norm(row, weight.data(), kEps, groups);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  const auto run = [&](int64_t first, int64_t n) {
    DeviceRows<T> in(y, rows, cols, cols + gap, 0);
    DeviceRows<T> gate(z, rows, cols, cols + 3 * gap, gap);
    DeviceRows<T> out(rows, cols, cols + gap, 0);
    DeviceRows<T>& target = in_place ? in : out;
    gated_rms_norm(nullptr,
                   GatedRmsNormArguments<T>{in.data() + first * in.stride(), in.stride(),
                                            gate.data() + first * gate.stride(), gate.stride(), weights.data(), kEps,
                                            groups, n, cols, target.data() + first * target.stride(), target.stride()});
    return target.values();
  };
  const auto got = run(0, rows);
  expect_close<T>(got, expected, cols);
  if (::testing::Test::HasFatalFailure()) return;
  const auto alone = run(rows - 1, 1);
  ASSERT_TRUE(same_bits({alone.end() - cols, alone.end()}, {got.end() - cols, got.end()}));
}

template <typename T>
void expect_gated_norms(unsigned seed) {
  std::mt19937 engine(seed);
  for (const int64_t width : {1, 7, 64, 100, 1024, 4104, 8192, 17000}) {
    for (const int64_t groups : {1, 2, 3}) {
      expect_gated<T>(engine, 3, width * groups, groups, groups == 2 ? 5 : 8, groups == 3);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(CudaGatedRmsNorm, MatchesReferenceF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_gated_norms<float>(12);
}
TEST(CudaGatedRmsNorm, MatchesReferenceBf16) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_gated_norms<__nv_bfloat16>(13);
}

/// exp(-v) overflows for gates far below zero: the product is zero, not NaN.
TEST(CudaGatedRmsNorm, FarGates) {
  BAMBA_SKIP_WITHOUT_GPU();
  const std::vector<float> z{-1000, -89, -88, -20, 0, 20, 88, 1000};
  const std::vector<float> ones(8, 1.0f);
  const DeviceVector<float> weights(ones);
  const auto run = [&]<typename T>(T) {
    DeviceRows<T> in(ones, 1, 8, 8, 0);
    DeviceRows<T> gate(z, 1, 8, 8, 0);
    gated_rms_norm(nullptr,
                   GatedRmsNormArguments<T>{in.data(), 8, gate.data(), 8, weights.data(), kEps, 1, 1, 8, in.data(), 8});
    const auto got = in.values();
    for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(got[i], 0, 1e-9);
    EXPECT_NEAR(got[7], std::sqrt(8 * 1e6 / (1e6 + 88 * 88 + 400)), 0.02);
  };
  run(0.0f);
  run(__nv_bfloat16());
}

}  // namespace
}  // namespace bamba::backend::cuda
