#include <bamba/error.h>

#include <limits>

#include "backend/cuda/fp8_rows.h"
#include "cuda/skinny_weights.h"

namespace bamba::backend::cuda {
namespace {

using testing::DeviceVector;

TEST(CudaFp8, EveryCodeComesBack) {
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

TEST(CudaFp8, RoundsToNearestTiesToEvenAndSaturates) {
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

TEST(CudaFp8, WeightsKeepThreeBitsAndMustBeFinite) {
  std::mt19937 engine(7);
  constexpr int64_t kOut = 130;
  constexpr int64_t kIn = 300;
  std::vector<float> weights = testing::normals(engine, kOut * kIn);
  std::vector<uint8_t> codes(weights.size());
  std::vector<float> scales(kOut);
  std::vector<float> block_scales(2 * 3);
  fp8_quantize_rows(weights.data(), kOut, kIn, codes.data(), scales.data());
  // Half of the last place: 2^-4 of the value, or of the smallest normal number.
  const auto check = [&](int64_t i, float scale) {
    const float weight = weights[static_cast<size_t>(i)];
    ASSERT_NEAR(from_e4m3(codes[static_cast<size_t>(i)]) * scale, weight,
                std::max(std::abs(weight), scale * 0x1p-6f) * 0x1.0001p-4f);
  };
  for (int64_t i = 0; i < kOut * kIn; ++i) check(i, scales[static_cast<size_t>(i / kIn)]);
  fp8_quantize_blocks(weights.data(), kOut, kIn, codes.data(), block_scales.data());
  for (int64_t i = 0; i < kOut * kIn; ++i) {
    check(i, block_scales[static_cast<size_t>(i / kIn / 128 * 3 + i % kIn / 128)]);
  }
  weights[1000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(fp8_quantize_rows(weights.data(), kOut, kIn, codes.data(), scales.data()), Error);
}

TEST(CudaFp8, ActivationsRoundRowByRow) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(8);
  constexpr int64_t kRows = 9;
  constexpr int64_t kCols = 515;
  std::vector<float> values = testing::normals(engine, kRows * (kCols + 1), 30);
  for (int64_t c = 0; c < kCols; ++c) values[static_cast<size_t>(4 * (kCols + 1) + c)] = 0;
  const DeviceVector<float> in(values);
  DeviceVector<uint8_t> codes(kRows * kCols);
  DeviceVector<float> scales(kRows);
  fp8_rows(nullptr, {in.data(), Element::f32, kCols + 1, kRows, kCols, codes.data(), kCols, scales.data()});
  const std::vector<uint8_t> got = codes.host();
  const std::vector<float> got_scales = scales.host();
  for (int64_t r = 0; r < kRows; ++r) {
    const float* row = values.data() + r * (kCols + 1);
    float largest = 0;
    for (int64_t c = 0; c < kCols; ++c) largest = std::max(largest, std::abs(row[c]));
    const float scale = largest > 0 ? largest / kE4m3Largest : 1.0f;
    ASSERT_EQ(got_scales[static_cast<size_t>(r)], scale);
    for (int64_t c = 0; c < kCols; ++c) ASSERT_EQ(got[static_cast<size_t>(r * kCols + c)], to_e4m3(row[c] / scale));
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
