#include "cuda/attention_support.h"

namespace bamba::backend::cuda {
namespace {

using testing::device_rows;
using testing::DeviceVector;
using testing::host_rows;
using testing::normals;
using testing::rounded;
using testing::TestPages;

/// The definition, in f64: pairs (j, j + rotary_dim / 2) of each head turn by the table's angle.
std::vector<double> turned(const std::vector<float>& heads, int64_t n_heads, const AttentionShape& shape,
                           const std::vector<float>& table, const std::vector<int64_t>& table_rows) {
  std::vector<double> out(heads.begin(), heads.end());
  const int64_t half = shape.rotary_dim / 2;
  for (size_t r = 0; r < table_rows.size(); ++r) {
    for (int64_t h = 0; h < n_heads; ++h) {
      for (int64_t j = 0; j < half; ++j) {
        const auto a = static_cast<size_t>((static_cast<int64_t>(r) * n_heads + h) * shape.head_dim + j);
        const auto b = a + static_cast<size_t>(half);
        const double c = table[static_cast<size_t>(table_rows[r] * shape.rotary_dim + j)];
        const double s = table[static_cast<size_t>(table_rows[r] * shape.rotary_dim + half + j)];
        out[a] = double{heads[a]} * c - double{heads[b]} * s;
        out[b] = double{heads[b]} * c + double{heads[a]} * s;
      }
    }
  }
  return out;
}

/// Two products and a sum in f32 (2^-23 of terms up to 5), then one rounding to the element.
template <typename Element>
void expect_near(const std::vector<float>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  const double step = sizeof(Element) == 2 ? 0x1p-8 : 0x1p-23;
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], step * std::abs(want[i]) + 2e-6) << i;
}

template <typename Element>
void check(const AttentionShape& shape, int64_t pad) {
  std::mt19937 engine(3);
  const std::vector<SequenceRows> sequences = {{0, 2, 5}, {2, 9, 60}};
  const std::vector<int32_t> row_sequence = {0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const int64_t rows = 11;
  std::vector<int64_t> by_row(static_cast<size_t>(rows));
  std::vector<int64_t> positions;
  for (int64_t r = 0; r < rows; ++r) {
    const SequenceRows& own = sequences[static_cast<size_t>(row_sequence[static_cast<size_t>(r)])];
    by_row[static_cast<size_t>(r)] = r;
    positions.push_back(own.start + r - own.first);
  }
  std::vector<float> table(static_cast<size_t>(70 * shape.rotary_dim));
  std::uniform_real_distribution<float> angle(0, 6);
  for (size_t r = 0; r < 70; ++r) {
    for (int64_t j = 0; j < shape.rotary_dim / 2; ++j) {
      const float a = angle(engine);
      float* entry = table.data() + r * static_cast<size_t>(shape.rotary_dim) + j;
      entry[0] = std::cos(a);
      entry[shape.rotary_dim / 2] = std::sin(a);
    }
  }
  const int64_t q_width = shape.n_heads * shape.head_dim;
  const int64_t k_width = shape.n_kv_heads * shape.head_dim;
  const auto queries = rounded<Element>(normals(engine, static_cast<size_t>(rows * q_width)));
  const auto keys = rounded<Element>(normals(engine, static_cast<size_t>(rows * k_width)));
  const auto values = rounded<Element>(normals(engine, static_cast<size_t>(rows * k_width)));
  const DeviceVector<float> device_table(table);
  const DeviceVector<SequenceRows> device_sequences(sequences);
  const DeviceVector<int32_t> device_row_sequence(row_sequence);
  const TestPages pages({7, 69}, shape, engine);

  for (const bool append : {false, true}) {
    for (const bool by_position : {false, true}) {
      const auto q = device_rows<Element>(queries, q_width, q_width + pad);
      const auto k = device_rows<Element>(keys, k_width, k_width + pad);
      const auto v = device_rows<Element>(values, k_width, k_width + pad);
      rope<Element>(nullptr, {.queries = q->data(),
                              .query_stride = q_width + pad,
                              .keys = k->data(),
                              .key_stride = k_width + pad,
                              .values = v->data(),
                              .value_stride = k_width + pad,
                              .rows = rows,
                              .shape = shape,
                              .cos_sin = device_table.data(),
                              .by_position = by_position,
                              .row_sequence = device_row_sequence.data(),
                              .sequences = {device_sequences.data(), append ? pages.all() : nullptr}});
      const auto& table_rows = by_position ? positions : by_row;
      expect_near<Element>(host_rows(*q, q_width, q_width + pad),
                           turned(queries, shape.n_heads, shape, table, table_rows));
      const auto want_keys = turned(keys, shape.n_kv_heads, shape, table, table_rows);
      if (!append) {
        expect_near<Element>(host_rows(*k, k_width, k_width + pad), want_keys);
        continue;
      }
      EXPECT_EQ(host_rows(*k, k_width, k_width + pad), keys) << "appending leaves the keys as they were";
      const int64_t tokens = 69;  // sequence 1
      DeviceVector<float> keys_back(static_cast<size_t>(tokens * k_width));
      DeviceVector<float> values_back(static_cast<size_t>(tokens * k_width));
      kv_read(nullptr, {pages.table(1), tokens, shape}, keys_back.data(), values_back.data());
      const auto read_keys = keys_back.host();
      const auto read_values = values_back.host();
      std::vector<float> got_keys;
      std::vector<double> want;
      for (int64_t t = 60; t < tokens; ++t) {
        for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
          for (int64_t e = 0; e < shape.head_dim; ++e) {
            const auto from = static_cast<size_t>((t - 60 + 2) * k_width + h * shape.head_dim + e);
            const auto at = static_cast<size_t>((h * tokens + t) * shape.head_dim + e);
            got_keys.push_back(read_keys[at]);
            want.push_back(want_keys[from]);
            const float value = shape.kv == KvFormat::f32 ? values[from] : rounded<__nv_bfloat16>(values[from]);
            ASSERT_EQ(read_values[at], value);
          }
        }
      }
      if (shape.kv == KvFormat::f32) {
        expect_near<float>(got_keys, want);
      } else {
        expect_near<__nv_bfloat16>(got_keys, want);
      }
    }
  }
}

TEST(CudaRope, TurnsQueriesAndKeysAndAppends) {
  BAMBA_SKIP_WITHOUT_GPU();
  for (const KvFormat format : {KvFormat::f32, KvFormat::bf16}) {
    for (const int64_t pad : {8, 3}) {
      check<float>({8, 2, 128, 64, format}, pad);
      check<__nv_bfloat16>({8, 2, 128, 64, format}, pad);
      check<float>({4, 4, 16, 8, format}, pad);
      check<__nv_bfloat16>({6, 3, 24, 12, format}, pad);
      check<__nv_bfloat16>({2, 1, 64, 64, format}, pad);
    }
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
