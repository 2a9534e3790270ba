// Tensor: sizes, sharing, typed access and conversions.
#include <bamba/error.h>
#include <bamba/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "support/error.h"

namespace bamba {
namespace {

using test::expect_error;

TEST(Shape, CountsElements) {
  EXPECT_EQ(shape_numel(Shape{}), 1);
  EXPECT_EQ(shape_numel(Shape{2, 3, 4}), 24);
  EXPECT_EQ(shape_numel(Shape{5, 0}), 0);
  EXPECT_EQ(shape_numel(Shape{std::numeric_limits<int64_t>::max()}), std::numeric_limits<int64_t>::max());
  expect_error(ErrorCode::invalid_argument, {"[2, -1]", "negative"}, [] { shape_numel(Shape{2, -1}); });
  expect_error(ErrorCode::invalid_argument, {"[4294967296, 2147483648]", "63 bits"}, [] {
    shape_numel(Shape{int64_t{1} << 32, int64_t{1} << 31});
  });
}

TEST(Tensor, OwnsAlignedMemory) {
  for (const int64_t count : {0, 1, 3, 1000}) {
    const Tensor tensor = Tensor::zeros(DType::f32, {count});
    EXPECT_TRUE(tensor);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.raw()) % 64, 0U);
    EXPECT_EQ(tensor.nbytes(), static_cast<size_t>(4 * count));
    for (const float value : tensor.data<float>()) EXPECT_EQ(value, 0.0F);
  }
  EXPECT_FALSE(Tensor());
  EXPECT_EQ(Tensor::zeros(DType::bf16, {}).numel(), 1);
}

TEST(Tensor, RefusesSizesThatCannotBe) {
  // 2^61 elements can be counted, their 2^64 bytes cannot.
  expect_error(ErrorCode::out_of_memory, {"F64 [2305843009213693952]"},
               [] { Tensor::empty(DType::f64, {int64_t{1} << 61}); });
  expect_error(ErrorCode::invalid_argument, {"[-1]"}, [] { Tensor::empty(DType::f32, {-1}); });
}

TEST(Tensor, CopiesAndSharing) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  Tensor tensor = Tensor::from(values, {2, 3});
  Tensor same = tensor;
  Tensor other = tensor.clone();
  const Tensor flat = tensor.reshape({6});
  tensor.data<float>()[0] = 42;
  EXPECT_EQ(same.data<float>()[0], 42);
  EXPECT_EQ(flat.data<float>()[0], 42);
  EXPECT_EQ(other.data<float>()[0], 1);
  EXPECT_EQ(flat.shape(), Shape{6});
  EXPECT_EQ(tensor.describe(), "F32 [2, 3]");
  EXPECT_EQ(tensor.dim(1), 3);
  EXPECT_EQ(tensor.rank(), 2U);
  expect_error(ErrorCode::invalid_argument, {"F32 [2, 3]", "[4]"}, [&] { tensor.reshape({4}); });
  expect_error(ErrorCode::invalid_argument, {"6 values", "[5]"}, [&] { Tensor::from(values, {5}); });
}

TEST(Tensor, TypedAccessChecksTheType) {
  Tensor tensor = Tensor::zeros(DType::i64, {2});
  EXPECT_EQ(tensor.data<int64_t>().size(), 2U);
  expect_error(ErrorCode::invalid_argument, {"I64 [2]", "F32"}, [&] { tensor.data<float>(); });
}

TEST(Tensor, ViewsKeepTheirOwnerAlive) {
  auto owner = std::make_shared<std::vector<int32_t>>(std::vector<int32_t>{7, 8});
  const std::weak_ptr<std::vector<int32_t>> watch = owner;
  {
    const Tensor view = Tensor::view(DType::i32, {2}, owner->data(), owner);
    const Tensor part = view.reshape({1, 2});
    owner.reset();
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(part.data<int32_t>()[1], 8);
  }
  EXPECT_TRUE(watch.expired());
}

TEST(Tensor, ConvertsFloats) {
  const std::vector<float> values = {0.0F, -1.5F, 65504.0F, 1e-3F};
  const Tensor tensor = Tensor::from(values, {2, 2});
  for (const DType dtype : {DType::f64, DType::f16, DType::bf16, DType::f32}) {
    const Tensor converted = tensor.to(dtype);
    EXPECT_EQ(converted.dtype(), dtype);
    EXPECT_EQ(converted.shape(), tensor.shape());
    const Tensor back = converted.to(DType::f32);
    // Half a step of the coarsest type: bf16 has 8 bits of significand, so steps of at most 2^-7 of the value.
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(back.data<float>()[i], values[i], std::abs(values[i]) * 0x1p-8F);
    }
  }
  EXPECT_EQ(tensor.to(DType::bf16).data<bf16_t>()[1].bits, to_bf16(-1.5F).bits);
}

TEST(Tensor, ConvertsIntegersThatFit) {
  const std::vector<int64_t> values = {0, 2, -3};
  const Tensor tensor = Tensor::from(values, {3});
  EXPECT_EQ(tensor.to(DType::i32).data<int32_t>()[2], -3);
  EXPECT_EQ(tensor.to(DType::i8).to(DType::i64).data<int64_t>()[2], -3);
  const Tensor truth = tensor.to(DType::boolean);
  const auto* bytes = static_cast<const uint8_t*>(truth.raw());
  EXPECT_EQ(bytes[0], 0);
  EXPECT_EQ(bytes[1], 1);
  EXPECT_EQ(bytes[2], 1);
  expect_error(ErrorCode::invalid_argument, {"I64 [3]", "U8", "element 2", "-3"}, [&] { tensor.to(DType::u8); });
  const std::vector<int64_t> large = {int64_t{1} << 31};
  expect_error(ErrorCode::invalid_argument, {"I32", "2147483648"}, [&] { Tensor::from(large, {1}).to(DType::i32); });
  expect_error(ErrorCode::invalid_argument, {"I64 [3]", "F32"}, [&] { tensor.to(DType::f32); });
}

}  // namespace
}  // namespace bamba
