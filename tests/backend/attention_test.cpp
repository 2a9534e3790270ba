// Attention over paged keys and values: against the float64 reference, and to the bit against itself however it is cut.
#include <algorithm>
#include <bit>

#include "backend/reference.h"
#include "backend/support.h"

namespace bamba::backend {
namespace {

constexpr KvFormat kFormats[] = {KvFormat::f32, KvFormat::bf16};

using testing::Random;
using testing::Rows;
using testing::same_bits;

/// Sequences with a past, and pages that hold `garbage` wherever nothing was written.
struct AttentionCase {
  AttentionShape shape;
  std::vector<SequenceRows> sequences;
  Rows queries;
  std::vector<std::vector<float>> keys;  // per sequence [start + count, n_kv_heads * head_dim]
  std::vector<std::vector<float>> values;

  AttentionCase(Random& random, AttentionShape attention, const std::vector<int64_t>& lengths,
                const std::vector<int64_t>& starts, float score_scale = 1)
      : shape(attention),
        sequences(testing::ragged(lengths, starts)),
        queries(Rows::normals(random, sequences.back().first + sequences.back().count,
                              attention.n_heads * attention.head_dim, score_scale)) {
    for (const auto& rows : sequences) {
      const int64_t tokens = rows.start + rows.count;
      keys.push_back(random.normals(tokens * width()));
      values.push_back(random.normals(tokens * width()));
    }
  }
  int64_t width() const { return shape.n_kv_heads * shape.head_dim; }

  /// What the pages hold after kv_append of such values.
  std::vector<float> stored(std::vector<float> values_in) const {
    if (shape.kv == KvFormat::bf16) {
      for (float& v : values_in) v = to_float(to_bf16(v));
    }
    return values_in;
  }

  struct Pages {
    std::vector<std::vector<std::vector<float>>> memory;
    std::vector<std::vector<float*>> pointers;
  };
  Pages make_pages(Backend& cpu, float garbage) const {
    Pages pages;
    const size_t floats = cpu.kv_page_bytes(shape) / sizeof(float);
    for (const auto& rows : sequences) {
      const int64_t tokens = rows.start + rows.count;
      const auto count = static_cast<size_t>((tokens + cpu.kv_page_tokens() - 1) / cpu.kv_page_tokens());
      pages.memory.emplace_back(count, std::vector<float>(floats, garbage));
      auto& pointers = pages.pointers.emplace_back();
      for (auto& page : pages.memory.back()) pointers.push_back(page.data());
    }
    return pages;
  }

  /// Appends tokens [start, start + count) of sequence s.
  void append(Backend& cpu, size_t s, int64_t start, int64_t count, Pages& pages) {
    if (count == 0) return;
    const Matrix k{keys[s].data() + start * width(), count, width(), width()};
    const Matrix v{values[s].data() + start * width(), count, width(), width()};
    const SequenceRows rows{0, count, start};
    float* const* table = pages.pointers[s].data();
    cpu.kv_append(k, v, {&rows, 1}, {&table, 1}, shape);
  }

  /// Pasts appended, then the new tokens in passes that cut each sequence at random (or not at all).
  std::vector<float> run(Backend& cpu, float garbage, Random* cuts = nullptr, bool one_by_one = false) {
    Pages pages = make_pages(cpu, garbage);
    Rows out(queries.view().rows, queries.view().cols);
    for (size_t s = 0; s < sequences.size(); ++s) append(cpu, s, 0, sequences[s].start, pages);
    if (cuts == nullptr && !one_by_one) {
      std::vector<float* const*> tables;
      for (size_t s = 0; s < sequences.size(); ++s) {
        append(cpu, s, sequences[s].start, sequences[s].count, pages);
        tables.push_back(pages.pointers[s].data());
      }
      cpu.attention(queries.view(), sequences, tables, shape, out.view());
    } else {
      for (size_t s = 0; s < sequences.size(); ++s) {
        std::vector<SequenceRows> parts;
        if (one_by_one) {
          for (int64_t t = 0; t < sequences[s].count; ++t) {
            parts.push_back({sequences[s].first + t, 1, sequences[s].start + t});
          }
        } else {
          parts = testing::random_cut(*cuts, sequences[s]);
        }
        float* const* table = pages.pointers[s].data();
        for (const auto& part : parts) {
          append(cpu, s, part.start, part.count, pages);
          cpu.attention(queries.view(), {&part, 1}, {&table, 1}, shape, out.view());
        }
      }
    }
    EXPECT_TRUE(out.padding_intact());
    return out.values();
  }

  /// Holds attention() and attention_weights() against the reference.
  void check(Backend& cpu) {
    const auto got = run(cpu, testing::kPoison);
    Pages pages = make_pages(cpu, testing::kPoison);
    const int64_t group = shape.n_heads / shape.n_kv_heads;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const SequenceRows& rows = sequences[s];
      const int64_t total = rows.start + rows.count;
      append(cpu, s, 0, total, pages);
      const auto stored_keys = stored(keys[s]);
      const auto stored_values = stored(values[s]);
      std::vector<float> weights(static_cast<size_t>(shape.n_heads * rows.count * (total + 2)), testing::kPoison);
      cpu.attention_weights(queries.view(), rows, pages.pointers[s].data(), shape, weights.data(),
                            rows.count * (total + 2), total + 2);
      for (int64_t t = 0; t < rows.count; ++t) {
        for (int64_t h = 0; h < shape.n_heads; ++h) {
          const int64_t seen = rows.start + t + 1;
          const int64_t column = h / group * shape.head_dim;
          const auto expected =
              reference::attention_weights(&queries.at(rows.first + t, h * shape.head_dim), stored_keys.data() + column,
                                           width(), seen, shape.head_dim);
          const float* line = weights.data() + (h * rows.count + t) * (total + 2);
          // The scores' own rounding (up to 30 units of 2^-24, head_dim terms) moves a weight by that share of it.
          for (int64_t j = 0; j < seen; ++j) {
            ASSERT_NEAR(line[j], expected[static_cast<size_t>(j)], 2e-5 * expected[static_cast<size_t>(j)] + 1e-9)
                << "weight " << j << " of token " << t << " head " << h;
          }
          for (int64_t j = seen; j < total; ++j) ASSERT_EQ(line[j], 0.0f);
          ASSERT_TRUE(std::isnan(line[total]));
          for (int64_t e = 0; e < shape.head_dim; ++e) {
            double sum = 0;
            for (int64_t j = 0; j < seen; ++j) {
              sum += expected[static_cast<size_t>(j)] * stored_values[static_cast<size_t>(j * width() + column + e)];
            }
            const auto at = static_cast<size_t>((rows.first + t) * queries.view().cols + h * shape.head_dim + e);
            ASSERT_NEAR(got[at], sum, 2e-5) << "token " << t << " head " << h << " element " << e;
          }
        }
      }
    }
  }
};

class CpuAttentionOf : public ::testing::TestWithParam<KvFormat> {};

TEST_P(CpuAttentionOf, MatchesReference) {
  const auto cpu = make_cpu_backend(2);
  Random random(40);
  for (const int64_t head_dim : {4, 6, 15, 16, 17, 32, 63, 64, 65, 80, 128, 130}) {
    for (const auto& [heads, kv_heads] : {std::pair<int64_t, int64_t>{1, 1}, {4, 4}, {6, 2}, {5, 1}}) {
      AttentionCase c(random, {heads, kv_heads, head_dim, 0, GetParam()},
                      {1, random.between(1, 90), random.between(1, 20)},
                      {random.pick({0, 63, 64, 65, 127}), 0, random.between(0, 200)}, random.below(2) == 0 ? 1 : 8);
      c.check(*cpu);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CpuAttentionOf, ::testing::Values(KvFormat::f32, KvFormat::bf16),
                         [](const auto& instance) { return std::string(kv_format_name(instance.param)); });

TEST(CpuAttention, EveryStartAndLengthAroundAPage) {
  const auto cpu = make_cpu_backend(1);
  Random random(41);
  for (int64_t start = 56; start <= 72; ++start) {
    for (const int64_t count : {1, 2, 7, 8, 9, 63, 64, 65, 66, 130}) {
      for (const KvFormat kv : kFormats) {
        AttentionCase c(random, {8, 1, 8, 0, kv}, {count}, {start});  // 12 tokens a query block
        c.check(*cpu);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(CpuAttention, LongSequence) {
  const auto cpu = make_cpu_backend(2);
  Random random(42);
  for (const KvFormat kv : kFormats) {
    AttentionCase c(random, {4, 2, 16, 0, kv}, {40, 1500}, {1460, 0}, 4);
    c.check(*cpu);
  }
}

TEST(CpuAttention, UnwrittenPageMemoryIsNeverRead) {
  const auto cpu = make_cpu_backend(2);
  Random random(43);
  // NaN and infinity as f32, and as each half of a pair of bf16.
  const float poisons[] = {testing::kPoison,
                           std::numeric_limits<float>::infinity(),
                           std::bit_cast<float>(0x7FC07FC0U),
                           std::bit_cast<float>(0x7F807F80U),
                           3e38f,
                           -1.0f};
  for (const int64_t head_dim : {4, 17, 64, 130}) {
    for (const KvFormat kv : kFormats) {
      AttentionCase c(random, {6, 2, head_dim, 0, kv}, {1, 70, 5}, {70, 3, 126});
      const auto expected = c.run(*cpu, 0.0f);
      for (const float garbage : poisons) {
        ASSERT_TRUE(same_bits(c.run(*cpu, garbage), expected)) << garbage;
        ASSERT_TRUE(same_bits(c.run(*cpu, garbage, nullptr, true), expected)) << garbage;
      }
    }
  }
}

TEST(CpuAttention, AnyCutAnyCompanyAnyThreads) {
  Random random(44);
  for (int i = 0; i < 8; ++i) {
    const int64_t kv_heads = random.pick({1, 2, 4});
    AttentionCase c(random,
                    {kv_heads * random.pick({1, 3, 4, 80}), kv_heads, random.pick({8, 20, 64}), 0, kFormats[i % 2]},
                    {random.between(1, 300), 1, random.between(1, 20), 1},
                    {random.between(0, 100), random.between(0, 200), 63, 64}, random.below(2) == 0 ? 1 : 20);
    const auto expected = c.run(*make_cpu_backend(1), 0.0f);
    const auto cpu = make_cpu_backend(2);
    ASSERT_TRUE(same_bits(c.run(*cpu, 0.0f, &random), expected)) << "cut";
    ASSERT_TRUE(same_bits(c.run(*cpu, 0.0f, nullptr, true), expected)) << "token by token";
    for (int threads = 2; threads <= 8; ++threads) {
      ASSERT_TRUE(same_bits(c.run(*make_cpu_backend(threads), 0.0f), expected)) << threads;
    }
  }
}

// Long contexts are cut into spans of 1024 tokens; with more threads than one, each span may be a task.
TEST(CpuAttention, AnyCutAnyThreadsAcrossSpans) {
  Random random(46);
  for (const KvFormat kv : kFormats) {
    for (const int64_t start : {1019, 2047, 3000}) {
      AttentionCase c(random, {4, 2, 16, 0, kv}, {60, 1, 1}, {start, start + 30, 5}, 4);
      const auto expected = c.run(*make_cpu_backend(1), 0.0f);
      ASSERT_TRUE(same_bits(c.run(*make_cpu_backend(1), testing::kPoison, nullptr, true), expected)) << "one by one";
      for (const int threads : {2, 3, 8}) {
        const auto cpu = make_cpu_backend(threads);
        ASSERT_TRUE(same_bits(c.run(*cpu, testing::kPoison), expected)) << threads;
        ASSERT_TRUE(same_bits(c.run(*cpu, testing::kPoison, nullptr, true), expected)) << threads << ", one by one";
        ASSERT_TRUE(same_bits(c.run(*cpu, testing::kPoison, &random), expected)) << threads << ", cut";
      }
    }
  }
}

// Against keys and values that were never rounded. Rounding to bf16 moves each by at most 2^-9 of itself. A score then
// moves by at most b = 2^-9 * sum |q_e k_e| / sqrt(head_dim), a softmax weight by a factor within exp(2 b), and the
// output, a mean of values, by that share of the largest value, and by 2^-9 of it once more for the values' own
// rounding.
TEST(CpuAttention, Bf16PagesStayWithinTheirRounding) {
  const auto cpu = make_cpu_backend(2);
  Random random(47);
  AttentionCase c(random, {4, 2, 64, 0, KvFormat::bf16}, {30}, {300});
  const auto got = c.run(*cpu, testing::kPoison);
  double worst = 0;
  for (int64_t t = 0; t < 30; ++t) {
    for (int64_t h = 0; h < 4; ++h) {
      const int64_t seen = 301 + t;
      const int64_t column = h / 2 * 64;
      const float* query = &c.queries.at(t, h * 64);
      const auto weights = reference::attention_weights(query, c.keys[0].data() + column, c.width(), seen, 64);
      double score_error = 0;
      for (int64_t j = 0; j < seen; ++j) {
        double sum = 0;
        for (int64_t e = 0; e < 64; ++e)
          sum += std::abs(query[e] * c.keys[0][static_cast<size_t>(j * 128 + column + e)]);
        score_error = std::max(score_error, std::ldexp(sum, -9) / 8);
      }
      for (int64_t e = 0; e < 64; ++e) {
        double expected = 0;
        double largest = 0;
        for (int64_t j = 0; j < seen; ++j) {
          const double value = c.values[0][static_cast<size_t>(j * 128 + column + e)];
          expected += weights[static_cast<size_t>(j)] * value;
          largest = std::max(largest, std::abs(value));
        }
        const double error = std::abs(got[static_cast<size_t>(t * 256 + h * 64 + e)] - expected);
        ASSERT_LE(error, (std::expm1(2 * score_error) + std::ldexp(1, -9)) * largest + 2e-5);
        worst = std::max(worst, error);
      }
    }
  }
  EXPECT_GT(worst, 2e-5) << "nothing was rounded";
}

TEST(CpuAttention, PagesCanBeReadAndWritten) {
  const auto cpu = make_cpu_backend(2);
  Random random(45);
  for (const auto& [tokens, kv] : {std::pair<int64_t, KvFormat>{1, KvFormat::f32},
                                   {63, KvFormat::f32},
                                   {64, KvFormat::bf16},
                                   {65, KvFormat::f32},
                                   {65, KvFormat::bf16},
                                   {200, KvFormat::f32},
                                   {200, KvFormat::bf16}}) {
    AttentionCase c(random, {3, 3, 18, 0, kv}, {1}, {tokens - 1});
    const auto stored_keys = c.stored(c.keys[0]);
    const auto stored_values = c.stored(c.values[0]);
    auto pages = c.make_pages(*cpu, testing::kPoison);
    c.append(*cpu, 0, 0, tokens / 3, pages);
    c.append(*cpu, 0, tokens / 3, tokens - tokens / 3, pages);
    const auto size = static_cast<size_t>(3 * tokens * 18);
    std::vector<float> keys(size);
    std::vector<float> values(size);
    cpu->kv_read(pages.pointers[0].data(), tokens, c.shape, keys.data(), values.data());
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t e = 0; e < 18; ++e) {
          const auto read = static_cast<size_t>((h * tokens + t) * 18 + e);
          const auto source = static_cast<size_t>(t * 54 + h * 18 + e);
          ASSERT_EQ(keys[read], stored_keys[source]);
          ASSERT_EQ(values[read], stored_values[source]);
        }
      }
    }
    auto restored = c.make_pages(*cpu, testing::kPoison);
    cpu->kv_write(restored.pointers[0].data(), tokens, c.shape, keys.data(), values.data());
    for (size_t p = 0; p < pages.memory[0].size(); ++p) {
      ASSERT_TRUE(same_bits(restored.memory[0][p], pages.memory[0][p]));
    }
  }
}

}  // namespace
}  // namespace bamba::backend
