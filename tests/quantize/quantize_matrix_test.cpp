// The quantizers, each held against what it promises to make small.
#include "quantize/quantize_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quantize/cholesky.h"
#include "quantize/group_search.h"
#include "support/error.h"
#include "support/same_bits.h"

namespace bamba::test {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::q8, WeightFormat::q4};

std::vector<float> normals(uint32_t seed, int64_t count, float scale = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& value : out) value = normal(engine);
  return out;
}

Tensor matrix(std::span<const float> values, int64_t rows) {
  return Tensor::from(values, {rows, static_cast<int64_t>(values.size()) / rows});
}

/// Rows of inputs that go together: each is a mixture of a few directions and some noise of its own.
std::vector<float> correlated(uint32_t seed, int64_t rows, int64_t inputs) {
  constexpr int64_t kDirections = 6;
  const auto directions = normals(seed, kDirections * inputs);
  const auto shares = normals(seed + 1, rows * kDirections);
  auto out = normals(seed + 2, rows * inputs, 0.2F);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < kDirections; ++k) {
      const float share = shares[static_cast<size_t>(r * kDirections + k)];
      for (int64_t i = 0; i < inputs; ++i) {
        out[static_cast<size_t>(r * inputs + i)] += share * directions[static_cast<size_t>(k * inputs + i)];
      }
    }
  }
  return out;
}

/// w - q of each weight.
std::vector<double> errors(const Tensor& weight, const QuantizedMatrix& quantized) {
  std::vector<double> out;
  for (int64_t r = 0; r < quantized.rows; ++r) {
    for (int64_t k = 0; k < quantized.cols; ++k) {
      const float scale =
          quantized.row_scales[static_cast<size_t>(r)] * static_cast<float>(quantized.scales(r)[k / quantized.group]);
      out.push_back(static_cast<double>(weight.data<float>()[static_cast<size_t>(r * quantized.cols + k)]) -
                    static_cast<double>(dequantized(quantized.format, scale, quantized.codes(r)[k])));
    }
  }
  return out;
}

/// Sum over the inputs x of |(W - Q) x|^2.
double output_error(const Tensor& weight, const QuantizedMatrix& quantized, const std::vector<float>& inputs) {
  const auto off = errors(weight, quantized);
  const int64_t width = quantized.cols;
  double sum = 0;
  for (size_t x = 0; x < inputs.size(); x += static_cast<size_t>(width)) {
    for (int64_t r = 0; r < quantized.rows; ++r) {
      double dot = 0;
      for (int64_t k = 0; k < width; ++k) {
        dot += off[static_cast<size_t>(r * width + k)] * static_cast<double>(inputs[x + static_cast<size_t>(k)]);
      }
      sum += dot * dot;
    }
  }
  return sum;
}

/// Sums of importance * error^2 of the rows; importance may be empty.
std::vector<double> row_errors(const Tensor& weight, const QuantizedMatrix& quantized,
                               std::span<const float> importance) {
  const auto off = errors(weight, quantized);
  std::vector<double> sums(static_cast<size_t>(quantized.rows));
  const auto width = static_cast<size_t>(quantized.cols);
  for (size_t i = 0; i < off.size(); ++i) {
    sums[i / width] += (importance.empty() ? 1.0 : static_cast<double>(importance[i % width])) * off[i] * off[i];
  }
  return sums;
}

double total_error(const Tensor& weight, const QuantizedMatrix& quantized, std::span<const float> importance) {
  double sum = 0;
  for (const double error : row_errors(weight, quantized, importance)) sum += error;
  return sum;
}

class Quantize : public ::testing::Test {
 protected:
  std::unique_ptr<backend::Backend> device_ = backend::make_cpu_backend(2);
  ThreadPool pool_{2};

  SecondMoment moment(std::vector<float> inputs, int64_t width, SecondMoment::Part part) {
    SecondMoment out(width, part);
    const auto rows = static_cast<int64_t>(inputs.size()) / width;
    // In two pieces, as a text comes.
    const int64_t first = rows / 3;
    out.add(*device_, {inputs.data(), first, width, width});
    out.add(*device_, {inputs.data() + first * width, rows - first, width, width});
    return out;
  }
};

TEST_F(Quantize, SecondMomentIsTheSumOfOuterProducts) {
  constexpr int64_t kWidth = 37;
  const auto inputs = normals(5, 50 * kWidth);
  const SecondMoment whole = moment(inputs, kWidth, SecondMoment::Part::matrix);
  const SecondMoment squares = moment(inputs, kWidth, SecondMoment::Part::diagonal);
  for (int64_t i = 0; i < kWidth; ++i) {
    for (int64_t j = 0; j < kWidth; ++j) {
      double sum = 0;
      for (int64_t r = 0; r < 50; ++r) {
        sum += static_cast<double>(inputs[static_cast<size_t>(r * kWidth + i)]) *
               static_cast<double>(inputs[static_cast<size_t>(r * kWidth + j)]);
      }
      EXPECT_NEAR(whole.matrix()[static_cast<size_t>(i * kWidth + j)], sum, 1e-4);
      if (i == j) {
        EXPECT_NEAR(squares.diagonal()[static_cast<size_t>(i)], sum, 1e-4);
      }
    }
    EXPECT_EQ(whole.diagonal()[static_cast<size_t>(i)], whole.matrix()[static_cast<size_t>(i * kWidth + i)]);
  }
}

TEST_F(Quantize, CholeskyGivesTheTriangleBack) {
  // Below, at and above the block's 128, and with a last block that is short.
  for (const int64_t n : {1, 5, 128, 129, 200, 300}) {
    const auto inputs = correlated(static_cast<uint32_t>(n), 2 * n + 10, n);
    const SecondMoment h = moment(inputs, n, SecondMoment::Part::matrix);
    std::vector<float> factor(h.matrix().begin(), h.matrix().end());
    ASSERT_TRUE(cholesky(*device_, pool_, factor, n)) << n;
    double worst = 0;
    double largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        if (j > i) {
          EXPECT_EQ(factor[static_cast<size_t>(i * n + j)], 0) << n << ": " << i << ", " << j;
        }
        double sum = 0;
        for (int64_t k = 0; k <= std::min(i, j); ++k) {
          sum += static_cast<double>(factor[static_cast<size_t>(i * n + k)]) *
                 static_cast<double>(factor[static_cast<size_t>(j * n + k)]);
        }
        const double wanted = h.matrix()[static_cast<size_t>(i * n + j)];
        worst = std::max(worst, std::abs(sum - wanted));
        largest = std::max(largest, std::abs(wanted));
      }
    }
    EXPECT_LT(worst, 2e-6 * largest) << n;
  }
}

TEST_F(Quantize, CholeskyRefusesWhatIsNotPositiveDefinite) {
  std::vector<float> indefinite{1, 2, 2, 1};
  EXPECT_FALSE(cholesky(*device_, pool_, indefinite, 2));
  std::vector<float> broken{std::numeric_limits<float>::quiet_NaN()};
  EXPECT_FALSE(cholesky(*device_, pool_, broken, 1));
}

TEST_F(Quantize, SearchIsNeverWorseThanNearestRowByRow) {
  constexpr int64_t kRows = 20;
  for (const WeightFormat format : kFormats) {
    for (const int64_t width : {32, 100, 256}) {
      const auto values = normals(static_cast<uint32_t>(width), kRows * width, 0.02F);
      const Tensor weight = matrix(values, kRows);
      std::vector<float> importance = normals(9, width);
      for (float& value : importance) value = value * value + 0.01F;
      for (const auto& weighing : {std::span<const float>(), std::span<const float>(importance)}) {
        const QuantizedMatrix nearest = quantize_nearest(format, weight, pool_);
        const QuantizedMatrix searched = quantize_searched(format, weight, weighing, pool_);
        const double before = total_error(weight, nearest, weighing);
        const double after = total_error(weight, searched, weighing);
        EXPECT_LT(after, before * (format == WeightFormat::q4 ? 0.9 : 1.0)) << width;
        const auto nearest_rows = row_errors(weight, nearest, weighing);
        const auto searched_rows = row_errors(weight, searched, weighing);
        for (size_t r = 0; r < kRows; ++r) {
          EXPECT_LE(searched_rows[r], nearest_rows[r] * (1 + 1e-9))
              << weight_format_name(format) << ", width " << width << ", row " << r;
        }
      }
    }
  }
}

TEST_F(Quantize, ImportanceDecidesWhereTheErrorGoes) {
  constexpr int64_t kWidth = 64;
  const auto values = normals(3, 30 * kWidth, 0.02F);
  const Tensor weight = matrix(values, 30);
  std::vector<float> importance(kWidth, 1e-3F);
  for (size_t i = 0; i < kWidth; i += 4) importance[i] = 1;
  const QuantizedMatrix blind = quantize_searched(WeightFormat::q4, weight, {}, pool_);
  const QuantizedMatrix seeing = quantize_searched(WeightFormat::q4, weight, importance, pool_);
  EXPECT_LT(total_error(weight, seeing, importance), 0.7 * total_error(weight, blind, importance));
  EXPECT_GT(total_error(weight, seeing, {}), total_error(weight, blind, {}));
}

TEST_F(Quantize, FeedbackLosesLessOfTheOutputs) {
  constexpr int64_t kRows = 48;
  for (const WeightFormat format : kFormats) {
    for (const int64_t width : {40, 128, 300}) {
      const auto inputs = correlated(17, 4 * width, width);
      const Tensor weight = matrix(normals(11, kRows * width, 0.02F), kRows);
      const SecondMoment h = moment(inputs, width, SecondMoment::Part::matrix);
      const double nearest = output_error(weight, quantize_nearest(format, weight, pool_), inputs);
      const double searched = output_error(weight, quantize_searched(format, weight, h.diagonal(), pool_), inputs);
      FeedbackQuantizer feedback(*device_, pool_, h);
      const double fed = output_error(weight, feedback.quantize(format, weight), inputs);
      EXPECT_LT(fed, 0.5 * nearest) << weight_format_name(format) << ", width " << width;
      EXPECT_LT(fed, 0.6 * searched) << weight_format_name(format) << ", width " << width;
    }
  }
}

TEST_F(Quantize, FeedbackHelpsOnInputsThatItHasNotSeen) {
  constexpr int64_t kWidth = 200;
  const auto all = correlated(23, 1200, kWidth);
  const std::vector<float> seen(all.begin(), all.begin() + 800 * kWidth);
  const std::vector<float> unseen(all.begin() + 800 * kWidth, all.end());
  const Tensor weight = matrix(normals(29, 40 * kWidth, 0.02F), 40);
  FeedbackQuantizer feedback(*device_, pool_, moment(seen, kWidth, SecondMoment::Part::matrix));
  const double fed = output_error(weight, feedback.quantize(WeightFormat::q4, weight), unseen);
  EXPECT_LT(fed, 0.6 * output_error(weight, quantize_nearest(WeightFormat::q4, weight, pool_), unseen));
}

TEST_F(Quantize, FeedbackCopesWithFewAndWithDeadInputs) {
  constexpr int64_t kWidth = 160;
  // Three rows make a matrix of rank three; one input is always zero.
  auto inputs = normals(31, 3 * kWidth);
  for (size_t r = 0; r < 3; ++r) inputs[r * kWidth + 70] = 0;
  const Tensor weight = matrix(normals(37, 10 * kWidth, 0.02F), 10);
  FeedbackQuantizer feedback(*device_, pool_, moment(inputs, kWidth, SecondMoment::Part::matrix));
  const QuantizedMatrix out = feedback.quantize(WeightFormat::q4, weight);
  EXPECT_LT(output_error(weight, out, inputs),
            0.5 * output_error(weight, quantize_nearest(WeightFormat::q4, weight, pool_), inputs));
  // Without any input there is nothing to weigh: every weight is still near to what it was.
  FeedbackQuantizer blind(*device_, pool_, SecondMoment(kWidth, SecondMoment::Part::matrix));
  EXPECT_LE(total_error(weight, blind.quantize(WeightFormat::q4, weight), {}),
            total_error(weight, quantize_nearest(WeightFormat::q4, weight, pool_), {}));
}

TEST_F(Quantize, ThreadsDoNotMatter) {
  constexpr int64_t kWidth = 300;
  const auto inputs = correlated(41, 500, kWidth);
  const Tensor weight = matrix(normals(43, 70 * kWidth, 0.02F), 70);
  FeedbackQuantizer two(*device_, pool_, moment(inputs, kWidth, SecondMoment::Part::matrix));
  const QuantizedMatrix with_two = two.quantize(WeightFormat::q4, weight);
  device_ = backend::make_cpu_backend(1);
  ThreadPool alone(1);
  FeedbackQuantizer one(*device_, alone, moment(inputs, kWidth, SecondMoment::Part::matrix));
  const QuantizedMatrix with_one = one.quantize(WeightFormat::q4, weight);
  EXPECT_TRUE(same_bits(with_two.row_scales, with_one.row_scales));
  EXPECT_EQ(with_two.group_scales, with_one.group_scales);
  EXPECT_EQ(with_two.all_codes, with_one.all_codes);
}

TEST_F(Quantize, ZerosStayZerosAndNonsenseIsRefused) {
  for (const WeightFormat format : kFormats) {
    const std::vector<float> zeros(3 * 70, 0.0F);
    const Tensor weight = matrix(zeros, 3);
    FeedbackQuantizer feedback(*device_, pool_, moment(normals(47, 100 * 70), 70, SecondMoment::Part::matrix));
    for (const QuantizedMatrix& out :
         {quantize_nearest(format, weight, pool_), quantize_searched(format, weight, {}, pool_),
          feedback.quantize(format, weight)}) {
      EXPECT_EQ(total_error(weight, out, {}), 0);
    }
    auto values = normals(53, 3 * 70);
    values[100] = std::numeric_limits<float>::infinity();
    const Tensor broken = matrix(values, 3);
    expect_error(ErrorCode::non_finite, {"inf"}, [&] { quantize_nearest(format, broken, pool_); });
    expect_error(ErrorCode::non_finite, {"inf"}, [&] { quantize_searched(format, broken, {}, pool_); });
    expect_error(ErrorCode::non_finite, {"inf"}, [&] { feedback.quantize(format, broken); });
  }
  auto inputs = normals(59, 10 * 70);
  inputs[3] = std::numeric_limits<float>::quiet_NaN();
  expect_error(ErrorCode::non_finite, {"calibration text"},
               [&] { FeedbackQuantizer(*device_, pool_, moment(inputs, 70, SecondMoment::Part::matrix)); });
}

}  // namespace
}  // namespace bamba::test
