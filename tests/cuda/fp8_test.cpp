#include <bamba/error.h>

#include <limits>

#include "backend/cuda/fp8_rows.h"
#include "cuda/skinny_weights.h"

namespace bamba::backend::cuda {
namespace {

using testing::DeviceVector;

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
