// 8-bit floats: every code, every edge between two of them, rows with their scales.
#include "tensor/fp8_matrix.h"

#include <bamba/error.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace bamba {
namespace {

TEST(Fp8, EveryCodeComesBack) {
  for (int code = 0; code < 256; ++code) {
    const float value = from_e4m3(static_cast<uint8_t>(code));
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(to_e4m3(value) & 0x7F, 0x7F);
    } else {
      EXPECT_EQ(to_e4m3(value), code) << value;
    }
  }
  EXPECT_EQ(from_e4m3(0x7E), 448.0f);
  EXPECT_EQ(from_e4m3(0x38), 1.0f);
  EXPECT_EQ(from_e4m3(0x01), 0x1p-9f);
  EXPECT_EQ(from_e4m3(0x80 | 0x08), -0x1p-6f);
}

TEST(Fp8, RoundsToNearestTiesToEvenAndSaturates) {
  for (int code = 0; code < 0x7E; ++code) {
    const float low = from_e4m3(static_cast<uint8_t>(code));
    const float high = from_e4m3(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(to_e4m3(middle), code % 2 == 0 ? code : code + 1) << middle;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(to_e4m3(-std::nextafter(middle, 1000.0f)), 0x80 | (code + 1));
  }
  EXPECT_EQ(to_e4m3(1e30f), 0x7E);
  EXPECT_EQ(to_e4m3(-std::numeric_limits<float>::infinity()), 0xFE);
  EXPECT_EQ(to_e4m3(-1e-30f), 0x80);
  const uint8_t codes[] = {0, 0x7E, 0xFF};
  EXPECT_FALSE(e4m3_is_finite(codes));
  EXPECT_TRUE(e4m3_is_finite(std::span(codes).first(2)));
}

TEST(Fp8, SubnormalsRoundToo) {
  EXPECT_EQ(to_e4m3(0x1p-10f), 0x00);  // halfway to the smallest
  EXPECT_EQ(to_e4m3(std::nextafter(0x1p-10f, 1.0f)), 0x01);
  EXPECT_EQ(to_e4m3(0x3p-10f), 0x02);
  EXPECT_EQ(to_e4m3(std::nextafter(0x1p-6f, 0.0f)), 0x08);  // up to the normal numbers
  EXPECT_EQ(to_e4m3(0.0f), 0x00);
  EXPECT_EQ(to_e4m3(-0.0f), 0x80);
}

TEST(Fp8, NansAreFoundWhereverTheyAre) {
  std::vector<uint8_t> codes(37);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * 7);
  codes[18] = 0x7E;  // 18 * 7 is 0x7E itself; 0x7F and 0xFF are no multiples of 7 below 37 * 7
  for (const uint8_t& code : codes) ASSERT_NE(code & 0x7F, 0x7F);
  EXPECT_TRUE(e4m3_is_finite(codes));
  for (size_t i = 0; i < codes.size(); ++i) {
    for (const auto nan : {uint8_t{0x7F}, uint8_t{0xFF}}) {
      auto broken = codes;
      broken[i] = nan;
      EXPECT_FALSE(e4m3_is_finite(broken)) << i;
    }
  }
  EXPECT_TRUE(e4m3_is_finite({}));
}

TEST(Fp8, RowsKeepThreeBitsOfTheirWeights) {
  ThreadPool pool(2);
  std::mt19937 engine(7);
  std::normal_distribution<float> normal;
  constexpr int64_t kRows = 5;
  constexpr int64_t kCols = 301;
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    Tensor weight = Tensor::empty(DType::f32, {kRows, kCols});
    for (float& value : weight.data<float>()) value = normal(engine) * 0.03f;
    for (int64_t k = 0; k < kCols; ++k) weight.data<float>()[static_cast<size_t>(2 * kCols + k)] = 0;
    const Tensor exact = weight.to(type).to(DType::f32);
    const Fp8Matrix matrix = quantize_fp8(weight.to(type), pool);
    check_fp8(matrix, pool);
    const Tensor back = widen_fp8(matrix);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto row = exact.data<float>().subspan(static_cast<size_t>(r * kCols), kCols);
      float largest = 0;
      for (const float value : row) largest = std::max(largest, std::abs(value));
      const float scale = matrix.scales[static_cast<size_t>(r)];
      EXPECT_EQ(scale, largest / 448.0f);
      for (size_t k = 0; k < row.size(); ++k) {
        // Half of the last place: 2^-4 of the value, or of the smallest normal number; f32 rounds the scale and twice
        // more.
        ASSERT_NEAR(back.data<float>()[static_cast<size_t>(r * kCols) + k], row[k],
                    std::max(std::abs(row[k]), scale * 0x1p-6f) * 0x1.0001p-4f);
      }
    }
  }
}

TEST(Fp8, BlocksShareAScale) {
  ThreadPool pool(2);
  constexpr int64_t kRows = 11;
  constexpr int64_t kCols = 13;
  Fp8Matrix matrix{Tensor::empty(DType::f8_e4m3, {kRows, kCols}), {}, {}};
  auto* codes = static_cast<uint8_t*>(matrix.codes.raw());
  for (int64_t i = 0; i < kRows * kCols; ++i) codes[i] = static_cast<uint8_t>(i * 5 % 127);
  for (const Fp8Block& block : {Fp8Block{1, 1}, {4, 5}, {11, 13}, {1, 13}, {3, INT64_MAX}, {128, 2}}) {
    const Shape shape = fp8_scales_shape(block, kRows, kCols);
    EXPECT_EQ(shape, (Shape{(kRows - 1) / block.rows + 1, (kCols - 1) / block.cols + 1}));
    matrix.block = block;
    matrix.scales.clear();
    for (int64_t i = 0; i < shape[0] * shape[1]; ++i) matrix.scales.push_back(0.01f * static_cast<float>(i + 1));
    check_fp8(matrix, pool);
    const Tensor wide = widen_fp8(matrix);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const int64_t scale = i / kCols / block.rows * shape[1] + i % kCols / block.cols;
      ASSERT_EQ(wide.data<float>()[static_cast<size_t>(i)],
                from_e4m3(codes[i]) * matrix.scales[static_cast<size_t>(scale)])
          << block.rows << " x " << block.cols << " at " << i;
    }
    matrix.scales.push_back(1);
    EXPECT_THROW(check_fp8(matrix, pool), Error);
  }
  EXPECT_EQ(fp8_scales_shape({128, 128}, 256, 257), (Shape{2, 3}));
  EXPECT_EQ(fp8_scales_shape({INT64_MAX, 1}, INT64_MAX, 0), (Shape{1, 0}));
  const Fp8Matrix empty{Tensor::empty(DType::f8_e4m3, {3, 0}), {}, Fp8Block{2, 2}};
  check_fp8(empty, pool);
  EXPECT_EQ(widen_fp8(empty).numel(), 0);
}

TEST(Fp8, WhatIsNotFiniteIsRefused) {
  ThreadPool pool(2);
  Tensor weight = Tensor::zeros(DType::f32, {3, 4});
  weight.data<float>()[7] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(static_cast<void>(quantize_fp8(weight, pool)), Error);
  EXPECT_THROW(static_cast<void>(quantize_fp8(Tensor::zeros(DType::i64, {3, 4}), pool)), Error);
  Fp8Matrix matrix = quantize_fp8(Tensor::zeros(DType::f32, {3, 4}), pool);
  static_cast<uint8_t*>(matrix.codes.raw())[9] = 0xFF;
  try {
    check_fp8(matrix, pool);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::non_finite);
    EXPECT_NE(std::string(error.what()).find("[2, 1]"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace bamba
