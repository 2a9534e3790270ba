// Activations rounded to bf16: the products against a float64 reference of the rounded factors, on every kind of
// instruction that this machine has, and the promise that a row's result depends on nothing else.
#include "backend/cpu/bf16_rows.h"

#include <cmath>

#include "backend/support.h"

namespace bamba::backend {
namespace {

using cpu::Bf16Limit;
using testing::Random;
using testing::Rows;
using testing::same_bits;

class Bf16Activations : public ::testing::TestWithParam<Bf16Limit> {
 protected:
  void SetUp() override { cpu::limit_bf16(GetParam()); }
  void TearDown() override { cpu::limit_bf16(Bf16Limit::any); }

  static std::unique_ptr<Backend> backend(int threads = 2) { return make_cpu_backend(threads, ActivationFormat::bf16); }
};

float rounded(float value) {
  return to_float(to_bf16(value));
}

TEST_P(Bf16Activations, ProductsMatchReference) {
  const auto cpu = backend();
  Random random(70);
  for (const int64_t rows : {1, 2, 5, 6, 7, 12, 15, 16, 17, 31, 33, 130, 260}) {
    for (const int64_t in : {1, 2, 31, 32, 33, 63, 255, 256, 257, 515}) {
      const int64_t out = random.pick({1, 17, 64, 65, 130});
      SCOPED_TRACE(::testing::Message() << rows << " x " << in << " -> " << out);
      const Tensor weight = Tensor::from(random.normals(out * in), {out, in});
      const auto packed = cpu->pack_linear(weight, WeightFormat::bf16);
      Rows x = Rows::normals(random, rows, in);
      Rows y = Rows::normals(random, rows, out);
      Rows before = y;
      const auto bias = random.normals(out);
      cpu->linear(x.view(), *packed, bias.data(), true, y.view());
      ASSERT_TRUE(y.padding_intact());
      const auto w = weight.data<float>();
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t o = 0; o < out; ++o) {
          double sum = static_cast<double>(bias[static_cast<size_t>(o)]) + before.at(r, o);
          double magnitude = std::abs(bias[static_cast<size_t>(o)]) + std::abs(before.at(r, o));
          for (int64_t k = 0; k < in; ++k) {
            const double term = static_cast<double>(rounded(x.at(r, k))) * rounded(w[static_cast<size_t>(o * in + k)]);
            sum += term;
            magnitude += std::abs(term);
          }
          // Products of two bf16 are exact in f32; each of `in` additions rounds once or, where a product is rounded
          // before it, twice. Wrong by a factor of two at most where an instruction truncates instead.
          ASSERT_NEAR(y.at(r, o), sum, static_cast<double>(2 * in + 2) * 0x1p-24 * magnitude) << r << ", " << o;
        }
      }
    }
  }
}

TEST_P(Bf16Activations, RowsDoNotDependOnCompanyNorOnThreads) {
  Random random(71);
  const Tensor weight = Tensor::from(random.normals(330 * 700), {330, 700});
  testing::expect_rows_independent(random, backend,
                                   [&](Backend& cpu) { return cpu.pack_linear(weight, WeightFormat::bf16); },
                                   {1, 2, 5, 6, 12, 15, 16, 17, 40, 128, 260});
}

/// A weight of one 1 per output shows what each activation became.
TEST_P(Bf16Activations, RoundToNearestEven) {
  const auto cpu = backend(1);
  const float values[] = {0.0f,
                          1.00390625f,  // half way: to even, 1
                          1.01171875f,  // half way: to even, 1.015625
                          1.00390637f,  // just above half way
                          -3.1415927f,
                          3.3961776e38f,  // above the largest bf16 by more than half a step: infinite
                          3.38e38f,
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()};
  const auto n = static_cast<int64_t>(std::size(values));
  std::vector<float> identity(static_cast<size_t>(n), 1.0f);
  // One input each: zero times an infinity elsewhere in the row would be NaN.
  const auto packed = cpu->pack_linear(Tensor::from(std::span<const float>(identity), {n, 1}), WeightFormat::bf16);
  Rows x(n, 1);
  for (int64_t r = 0; r < n; ++r) x.at(r, 0) = values[r];
  Rows y(n, n);
  cpu->linear(x.view(), *packed, nullptr, false, y.view());
  for (int64_t r = 0; r < n; ++r) {
    const float expected = rounded(values[r]);
    for (int64_t o = 0; o < n; ++o) {
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(y.at(r, o)));
      } else {
        EXPECT_EQ(y.at(r, o), expected) << values[r];
      }
    }
  }
}

TEST_P(Bf16Activations, OtherFormatsKeepTheirActivations) {
  const auto rounding = backend();
  const auto exact = make_cpu_backend(2);
  Random random(72);
  const Tensor weight = Tensor::from(random.normals(70 * 100), {70, 100});
  for (const auto format : {WeightFormat::f32, WeightFormat::f16, WeightFormat::q8, WeightFormat::q4}) {
    const auto packed = exact->pack_linear(weight, format);
    Rows x = Rows::normals(random, 20, 100);
    Rows one(20, 70);
    Rows two(20, 70);
    rounding->linear(x.view(), *packed, nullptr, false, one.view());
    exact->linear(x.view(), *packed, nullptr, false, two.view());
    EXPECT_TRUE(same_bits(one.values(), two.values())) << weight_format_name(format);
  }
}

TEST_P(Bf16Activations, SeveralWeightsOfOneCallAreAsEachAlone) {
  const auto cpu = backend();
  Random random(73);
  const int64_t in = 333;
  const Tensor dense = Tensor::from(random.normals(70 * in), {70, in});
  const auto a = cpu->pack_linear(dense, WeightFormat::q4);
  const auto b = cpu->pack_linear(dense, WeightFormat::f32);
  const auto c = cpu->pack_linear(dense, WeightFormat::bf16);
  Rows x = Rows::normals(random, 9, in);
  Rows together[] = {Rows(9, 70), Rows(9, 70), Rows(9, 70)};
  const LinearOp ops[] = {{a.get(), nullptr, false, together[0].view()},
                          {b.get(), nullptr, false, together[1].view()},
                          {c.get(), nullptr, false, together[2].view()}};
  cpu->linear(x.view(), ops);
  for (size_t i = 0; i < 3; ++i) {
    Rows alone(9, 70);
    cpu->linear(x.view(), *ops[i].weight, nullptr, false, alone.view());
    EXPECT_TRUE(same_bits(alone.values(), together[i].values())) << i;
  }
}

std::string limit_name(const ::testing::TestParamInfo<Bf16Limit>& limit) {
  switch (limit.param) {
    case Bf16Limit::none:
      return "none";
    case Bf16Limit::avx512:
      return "avx512";
    case Bf16Limit::any:
      return "any";
  }
  return "unknown";
}
INSTANTIATE_TEST_SUITE_P(Instructions, Bf16Activations,
                         ::testing::Values(Bf16Limit::none, Bf16Limit::avx512, Bf16Limit::any), limit_name);

}  // namespace
}  // namespace bamba::backend
