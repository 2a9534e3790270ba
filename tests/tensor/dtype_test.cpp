#include <bamba/dtype.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace bamba {
namespace {

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i < 15; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_safetensors_name(dtype_safetensors_name(dtype)), dtype);
    EXPECT_EQ(dtype_from_torch_name(dtype_torch_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_torch_name("torch.bfloat16"), DType::bf16);
  EXPECT_FALSE(dtype_from_safetensors_name("F4").has_value());
}

TEST(DType, EveryHalfSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const f16_t half{static_cast<uint16_t>(bits)};
    const bf16_t brain{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(half))) {
      EXPECT_TRUE(std::isnan(to_float(to_f16(to_float(half)))));
    } else {
      ASSERT_EQ(to_f16(to_float(half)).bits, half.bits);
    }
    if (std::isnan(to_float(brain))) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(to_float(brain)))));
    } else {
      ASSERT_EQ(to_bf16(to_float(brain)).bits, brain.bits);
    }
  }
}

TEST(DType, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, to_bf16(1.0f).bits);              // tie, down to even
  EXPECT_EQ(to_bf16(1.0f + 0x1.8p-7f).bits, to_bf16(1.0f + 0x1p-6f).bits);  // tie, up to even
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f).bits, to_f16(1.0f).bits);
  EXPECT_EQ(to_f16(1.0f + 0x1.8p-10f).bits, to_f16(1.0f + 0x1p-9f).bits);
  EXPECT_EQ(to_float(to_f16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(to_float(to_f16(65520.0f))));
  EXPECT_EQ(to_float(to_f16(0x1p-25f)), 0.0f);  // tie to zero
  EXPECT_EQ(to_float(to_f16(std::nextafter(0x1p-25f, 1.0f))), 0x1p-24f);
  EXPECT_TRUE(std::isinf(to_float(to_bf16(std::numeric_limits<float>::max()))));
}

}  // namespace
}  // namespace bamba
