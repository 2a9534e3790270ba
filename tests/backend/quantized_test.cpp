// q8 and q4: what packing keeps, the products against a float64 reference of the documented arithmetic, and the
// promise that a row's result depends on nothing else.
#include <bamba/error.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/quantized.h"
#include "backend/support.h"
#include "support/error.h"

namespace bamba::backend {
namespace {

using testing::Random;
using testing::Rows;
using testing::same_bits;

constexpr WeightFormat kFormats[] = {WeightFormat::q8, WeightFormat::q4};

/// A matrix of every code there is, with scales of both signs and groups of zeros.
QuantizedMatrix random_matrix(Random& random, WeightFormat format, int64_t rows, int64_t cols) {
  QuantizedMatrix matrix(format, rows, cols);
  for (float& scale : matrix.row_scales) scale = std::exp(random.normal()) * 1e-3f;
  for (int8_t& scale : matrix.group_scales) scale = static_cast<int8_t>(random.between(-127, 127));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < cols; ++k) {
      matrix.codes(r)[k] =
          static_cast<int8_t>(format == WeightFormat::q8 ? random.between(-127, 127) : random.between(0, 15));
    }
  }
  return matrix;
}

float value(const QuantizedMatrix& m, int64_t row, int64_t k) {
  const int code = m.codes(row)[k];
  const int level = m.format == WeightFormat::q4 ? kQ4Levels[static_cast<size_t>(code)] : code;
  return static_cast<float>(level) * static_cast<float>(m.scales(row)[k / m.group]) *
         m.row_scales[static_cast<size_t>(row)];
}

/// Activations as the kernels see them: multiples of max |x| / 127 of their group, ties to even.
std::vector<double> rounded_row(Rows& x, int64_t row, int64_t cols, int64_t group) {
  std::vector<double> out(static_cast<size_t>(cols));
  for (int64_t g = 0; g < cols; g += group) {
    const int64_t end = std::min(g + group, cols);
    float largest = 0;
    for (int64_t k = g; k < end; ++k) largest = std::max(largest, std::abs(x.at(row, k)));
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    for (int64_t k = g; k < end; ++k) {
      out[static_cast<size_t>(k)] = std::nearbyint(x.at(row, k) * inverse) * static_cast<double>(largest / 127.0f);
    }
  }
  return out;
}

TEST(Quantized, PackingKeepsEveryWeight) {
  const auto cpu = make_cpu_backend(2);
  Random random(60);
  for (const auto format : kFormats) {
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{1, 1}, {64, 64}, {65, 31}, {63, 33}, {130, 200}, {16, 129}}) {
      const QuantizedMatrix matrix = random_matrix(random, format, rows, cols);
      const auto packed = cpu->pack_quantized(matrix);
      EXPECT_EQ(packed->packed().size(), cpu->quantized_bytes(rows, cols, format));
      std::vector<float> back(static_cast<size_t>(rows * cols));
      cpu->unpack_linear(*packed, 0, rows, back.data());
      Rows looked_up(1, cols);
      const int32_t last = static_cast<int32_t>(rows - 1);
      cpu->embed({&last, 1}, *packed, looked_up.view());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t k = 0; k < cols; ++k) {
          ASSERT_EQ(back[static_cast<size_t>(r * cols + k)], value(matrix, r, k)) << r << ", " << k;
          if (r == last) {
            ASSERT_EQ(looked_up.at(0, k), value(matrix, r, k));
          }
        }
      }
    }
  }
}

TEST(Quantized, ProductsMatchTheDocumentedArithmetic) {
  const auto cpu = make_cpu_backend(2);
  Random random(61);
  for (const auto format : kFormats) {
    for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 11, 16, 17, 18, 29, 260}) {
      const int64_t cols = random.pick({1, 31, 32, 33, 64, 100, 256, 300, 520});
      const int64_t out = random.pick({1, 17, 64, 65, 130});
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols << " -> " << out << " " << weight_format_name(format));
      const QuantizedMatrix matrix = random_matrix(random, format, out, cols);
      const auto packed = cpu->pack_quantized(matrix);
      Rows x = Rows::normals(random, rows, cols);
      Rows y = Rows::normals(random, rows, out);
      Rows before = y;
      const auto bias = random.normals(out);
      cpu->linear(x.view(), *packed, bias.data(), true, y.view());
      ASSERT_TRUE(y.padding_intact());
      for (int64_t r = 0; r < rows; ++r) {
        const auto rounded = rounded_row(x, r, cols, matrix.group);
        for (int64_t o = 0; o < out; ++o) {
          double sum = static_cast<double>(before.at(r, o)) + bias[static_cast<size_t>(o)];
          double magnitude = std::abs(before.at(r, o)) + std::abs(bias[static_cast<size_t>(o)]);
          for (int64_t k = 0; k < cols; ++k) {
            const double term = rounded[static_cast<size_t>(k)] * static_cast<double>(value(matrix, o, k));
            sum += term;
            magnitude += std::abs(term);
          }
          // Products inside a group are exact; each group costs three f32 roundings, and the end four.
          const double roundings = static_cast<double>(3 * matrix.groups() + 4);
          ASSERT_NEAR(y.at(r, o), sum, roundings * 0x1p-24 * magnitude) << r << ", " << o;
        }
      }
    }
  }
}

TEST(Quantized, RowsDoNotDependOnCompanyNorOnThreads) {
  Random random(62);
  for (const auto format : kFormats) {
    const QuantizedMatrix matrix = random_matrix(random, format, 330, 700);
    testing::expect_rows_independent(
        random, [](int threads) { return make_cpu_backend(threads); },
        [&](Backend& cpu) { return cpu.pack_quantized(matrix); }, {1, 2, 4, 5, 6, 11, 12, 16, 17, 40, 260});
  }
}

TEST(Quantized, SeveralWeightsOfOneCallAreAsEachAlone) {
  const auto cpu = make_cpu_backend(2);
  Random random(63);
  const int64_t in = 333;
  const Tensor dense = Tensor::from(random.normals(70 * in), {70, in});
  const auto a = cpu->pack_linear(dense, WeightFormat::q4);
  const auto b = cpu->pack_linear(dense, WeightFormat::q8);
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

TEST(Quantized, AdoptedMemoryIsUsedWhereItLies) {
  const auto cpu = make_cpu_backend(2);
  Random random(64);
  for (const auto format : kFormats) {
    const QuantizedMatrix matrix = random_matrix(random, format, 100, 90);
    const auto packed = cpu->pack_quantized(matrix);
    // Aligned as a mapped file would be.
    std::shared_ptr<std::byte> memory(static_cast<std::byte*>(std::aligned_alloc(64, packed->packed().size())),
                                      [](std::byte* p) { std::free(p); });
    std::copy_n(packed->packed().data(), packed->packed().size(), memory.get());
    const auto adopted = cpu->adopt_quantized(100, 90, format, memory);
    EXPECT_EQ(adopted->packed().data(), memory.get());
    Rows x = Rows::normals(random, 3, 90);
    Rows one(3, 100);
    Rows two(3, 100);
    cpu->linear(x.view(), *packed, nullptr, false, one.view());
    cpu->linear(x.view(), *adopted, nullptr, false, two.view());
    EXPECT_TRUE(same_bits(one.values(), two.values()));
  }
}

TEST(Quantized, RoundingToNearestIsWithinHalfAStep) {
  Random random(65);
  for (const auto format : kFormats) {
    const int64_t cols = 300;
    const auto weights = random.normals(cols);
    QuantizedMatrix matrix(format, 1, cols);
    quantize_row(format, weights.data(), cols, matrix.row_scale(0), matrix.scales(0), matrix.codes(0));
    for (int64_t k = 0; k < cols; ++k) {
      const double scale = std::abs(matrix.row_scales[0] * static_cast<float>(matrix.scales(0)[k / matrix.group]));
      // Half the widest gap between levels: 1/2 for q8; for q4 30/2, or what a scale rounded to 8 bits cuts off at the
      // upper end, 127 - 104 at most.
      const double step = format == WeightFormat::q8 ? 0.5001 : 24.0;
      EXPECT_NEAR(value(matrix, 0, k), weights[static_cast<size_t>(k)], step * scale) << k;
    }
  }
}

TEST(Quantized, EveryLevelIsItsOwnNearest) {
  for (size_t i = 0; i < kQ4Levels.size(); ++i) {
    EXPECT_EQ(nearest_code(WeightFormat::q4, kQ4Levels[i]), static_cast<int8_t>(i));
    if (i > 0) {
      const float middle = 0.5f * static_cast<float>(int{kQ4Levels[i - 1]} + int{kQ4Levels[i]});
      EXPECT_EQ(nearest_code(WeightFormat::q4, middle - 0.2f), static_cast<int8_t>(i - 1));
      EXPECT_EQ(nearest_code(WeightFormat::q4, middle + 0.2f), static_cast<int8_t>(i));
    }
  }
  for (int q = -127; q <= 127; ++q) EXPECT_EQ(nearest_code(WeightFormat::q8, static_cast<float>(q)), q);
  EXPECT_EQ(nearest_code(WeightFormat::q8, 1e9f), 127);
  EXPECT_EQ(nearest_code(WeightFormat::q4, -1e9f), 0);
}

TEST(Quantized, ZeroRowsAndTinyNumbers) {
  const auto cpu = make_cpu_backend(1);
  Random random(67);
  for (const auto format : kFormats) {
    std::vector<float> weights(2 * 70, 0.0f);
    for (size_t k = 70; k < 140; ++k) weights[k] = 1e-38f;
    const auto packed = cpu->pack_linear(Tensor::from(std::span<const float>(weights), {2, 70}), format);
    std::vector<float> back(140);
    cpu->unpack_linear(*packed, 0, 2, back.data());
    for (size_t k = 0; k < 140; ++k) EXPECT_NEAR(back[k], weights[k], 1e-39) << k;
    Rows x = Rows::normals(random, 1, 70);
    Rows y(1, 2);
    cpu->linear(x.view(), *packed, nullptr, false, y.view());
    EXPECT_EQ(y.at(0, 0), 0.0f);
  }
}

TEST(Quantized, WhatIsNotFiniteStaysSo) {
  const auto cpu = make_cpu_backend(1);
  Random random(66);
  for (const auto format : kFormats) {
    for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      const auto packed = cpu->pack_linear(Tensor::from(random.normals(4 * 100), {4, 100}), format);
      Rows x = Rows::normals(random, 1, 100);
      x.view().data[97] = bad;
      Rows y(1, 4);
      cpu->linear(x.view(), *packed, nullptr, false, y.view());
      EXPECT_TRUE(std::isnan(y.at(0, 1))) << bad;
      std::vector<float> weights = random.normals(100);
      weights[50] = bad;
      test::expect_error(ErrorCode::non_finite, {"only finite weights"}, [&] {
        static_cast<void>(cpu->pack_linear(Tensor::from(std::span<const float>(weights), {1, 100}), format));
      });
    }
  }
}

}  // namespace
}  // namespace bamba::backend
