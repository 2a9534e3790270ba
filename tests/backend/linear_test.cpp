// Linear layers in every weight format: against the float64 reference, and to the bit against themselves. Buffers too.
#include <bamba/error.h>

#include <cstring>

#include "backend/support.h"

namespace bamba::backend {
namespace {

using testing::Random;
using testing::Rows;
using testing::same_bits;

constexpr WeightFormat kFormats[] = {WeightFormat::f32, WeightFormat::bf16, WeightFormat::f16};

float rounded(float value, WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return value;
    case WeightFormat::bf16:
      return to_float(to_bf16(value));
    case WeightFormat::f16:
      return to_float(to_f16(value));
    default:
      return std::numeric_limits<float>::quiet_NaN();  // q8 and q4: quantized_test.cpp
  }
}

Tensor random_weight(Random& random, int64_t out, int64_t in) {
  return Tensor::from(random.normals(out * in), {out, in});
}

void check_against_reference(Backend& cpu, Random& random, int64_t rows, int64_t in, int64_t out, WeightFormat format,
                             bool with_bias, bool accumulate) {
  SCOPED_TRACE(::testing::Message() << rows << " x " << in << " -> " << out << " " << weight_format_name(format)
                                    << " bias " << with_bias << " add " << accumulate);
  const Tensor weight = random_weight(random, out, in);
  const auto packed = cpu.pack_linear(weight, format);
  Rows x = Rows::normals(random, rows, in);
  Rows y = Rows::normals(random, rows, out);
  Rows before = y;
  const auto bias = random.normals(out);
  cpu.linear(x.view(), *packed, with_bias ? bias.data() : nullptr, accumulate, y.view());
  ASSERT_TRUE(y.padding_intact());
  const auto w = weight.data<float>();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = 0;
      double magnitude = 0;
      const auto add = [&](double term) {
        sum += term;
        magnitude += std::abs(term);
      };
      for (int64_t k = 0; k < in; ++k) {
        add(static_cast<double>(x.at(r, k)) * rounded(w[static_cast<size_t>(o * in + k)], format));
      }
      if (with_bias) add(bias[static_cast<size_t>(o)]);
      if (accumulate) add(before.at(r, o));
      // A chain of n roundings is off by at most n 2^-24 of the magnitudes' sum; without FMA there are two a term.
      ASSERT_NEAR(y.at(r, o), sum, static_cast<double>(2 * in + 2) * 0x1p-24 * magnitude) << r << ", " << o;
    }
  }
}

TEST(CpuLinear, MatchesReferenceOnEverySmallShape) {
  const auto cpu = make_cpu_backend(2);
  Random random(1);
  for (const auto format : kFormats) {
    for (const int64_t rows : {0, 1, 2, 3, 5, 6, 7, 11, 12, 13, 14, 31}) {
      for (const int64_t out : {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130}) {
        check_against_reference(*cpu, random, rows, random.between(1, 40), out, format, random.below(2) == 0,
                                random.below(2) == 0);
      }
    }
  }
}

TEST(CpuLinear, MatchesReferenceAcrossBlocks) {
  const auto cpu = make_cpu_backend(2);
  Random random(2);
  for (const auto format : kFormats) {
    for (const int64_t rows : {12, 13, 192, 193, 255, 256, 257, 300, 513}) {
      for (const int64_t in : {127, 128, 129, 255, 256, 257, 515}) {
        check_against_reference(*cpu, random, rows, in, random.pick({1, 64, 70}), format, true, in % 2 == 0);
      }
    }
  }
}

TEST(CpuLinear, RowsDoNotDependOnCompanyNorOnThreads) {
  Random random(3);
  for (const auto format : kFormats) {
    const Tensor weight = random_weight(random, 330, 700);
    testing::expect_rows_independent(
        random, [](int threads) { return make_cpu_backend(threads); },
        [&](Backend& cpu) { return cpu.pack_linear(weight, format); }, {1, 2, 5, 6, 12, 13, 40, 260});
  }
}

/// Values that conversions get wrong: halves of the last place, subnormals, overflow, signed zeros, infinities, NaN.
std::vector<float> awkward_values(Random& random, int64_t count) {
  const float special[] = {0.0f,
                           -0.0f,
                           1.00390625f,
                           1.01171875f,
                           65504.0f,
                           65519.0f,
                           65520.0f,
                           -70000.0f,
                           1e-8f,
                           6e-8f,
                           6.1e-5f,
                           -3e-5f,
                           1e-40f,
                           3.4e38f,
                           std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),
                           testing::kPoison};
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) {
    out.push_back(random.below(2) == 0 ? special[random.below(std::ssize(special))]
                                       : random.normal() * std::exp2(random.normal(20)));
  }
  return out;
}

TEST(CpuLinear, PackingKeepsEveryElement) {
  const auto cpu = make_cpu_backend(3);
  Random random(4);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const auto format : kFormats) {
      for (const auto& [out, in] :
           {std::pair<int64_t, int64_t>{1, 1}, {63, 65}, {64, 64}, {65, 7}, {200, 129}, {130, 300}}) {
        const Tensor source = Tensor::from(awkward_values(random, out * in), {out, in}).to(dtype);
        const Tensor plain = source.to(DType::f32);
        const auto values = plain.data<float>();
        for (const bool embedding : {false, true}) {
          const auto packed = embedding ? cpu->pack_embedding(source, format) : cpu->pack_linear(source, format);
          EXPECT_EQ(packed->out_features(), out);
          EXPECT_EQ(packed->in_features(), in);
          const int64_t skip = out / 2;
          std::vector<float> back(static_cast<size_t>((out - skip) * in));
          cpu->unpack_linear(*packed, skip, out - skip, back.data());
          Rows looked_up(2, in);
          const int32_t ids[] = {static_cast<int32_t>(out - 1), static_cast<int32_t>(skip)};
          cpu->embed(ids, *packed, looked_up.view());
          ASSERT_TRUE(looked_up.padding_intact());
          for (size_t i = 0; i < back.size(); ++i) {
            const float expected = rounded(values[static_cast<size_t>(skip * in) + i], format);
            if (std::isnan(expected)) {
              ASSERT_TRUE(std::isnan(back[i]));
            } else {
              ASSERT_EQ(std::memcmp(&back[i], &expected, sizeof(float)), 0) << back[i] << " " << expected;
            }
          }
          for (int64_t k = 0; k < in; ++k) {
            const float last = back[static_cast<size_t>((out - skip - 1) * in + k)];
            ASSERT_TRUE(std::isnan(last) ? std::isnan(looked_up.at(0, k)) : looked_up.at(0, k) == last);
            const float first = back[static_cast<size_t>(k)];
            ASSERT_TRUE(std::isnan(first) ? std::isnan(looked_up.at(1, k)) : looked_up.at(1, k) == first);
          }
        }
      }
    }
  }
}

TEST(CpuLinear, RefusesWeightsOfOtherTypes) {
  const auto cpu = make_cpu_backend(1);
  EXPECT_THROW(cpu->pack_linear(Tensor::zeros(DType::i8, {2, 2}), WeightFormat::f32), Error);
}

TEST(CpuBackend, BuffersAreZeroedClonedAndShared) {
  const auto cpu = make_cpu_backend(1);
  const Buffer empty = cpu->allocate(0);
  EXPECT_TRUE(static_cast<bool>(empty));
  EXPECT_EQ(cpu->clone(Buffer()).bytes(), 0u);
  Buffer buffer = cpu->allocate(100 * sizeof(float));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(buffer.floats()[i], 0.0f);
  EXPECT_TRUE(buffer.unique());
  const float pair[] = {1, 2};
  cpu->upload(buffer, 4, pair, sizeof(pair));
  const Buffer copy = cpu->clone(buffer);
  EXPECT_TRUE(buffer.unique());
  const Buffer alias = buffer;
  EXPECT_FALSE(buffer.unique());
  buffer.floats()[1] = 9;
  float back[3];
  cpu->download(copy, 0, back, sizeof(back));
  EXPECT_EQ(back[0], 0);
  EXPECT_EQ(back[1], 1);
  EXPECT_EQ(back[2], 2);
  Rows rows(3, 2);
  const float host[] = {1, 2, 0, 3, 4, 0, 5, 6, 0};
  cpu->upload_rows(host, 3, rows.view());
  float down[12] = {};
  cpu->download_rows(rows.view(), down, 4);
  EXPECT_TRUE(rows.padding_intact());
  EXPECT_EQ(down[4], 3);
  EXPECT_EQ(down[9], 6);
}

TEST(CpuBackend, RoofIsMeasured) {
  const MachineRoof roof = make_cpu_backend(2)->measure_roof();
  // Any machine that runs this reads more than 100 MB/s and less than 100 TB/s.
  EXPECT_GT(roof.read_bytes_per_second, 1e8);
  EXPECT_LT(roof.read_bytes_per_second, 1e14);
  EXPECT_GT(roof.f32_flops_per_second, 1e8);
  EXPECT_LT(roof.f32_flops_per_second, 1e14);
  EXPECT_GT(roof.int8_ops_per_second, 1e8);
  EXPECT_LT(roof.int8_ops_per_second, 1e15);
  EXPECT_FALSE(cpu_target_name().empty());
}

}  // namespace
}  // namespace bamba::backend
