#include "cuda/attention_support.h"

namespace bamba::backend::cuda {
namespace {

using testing::device_rows;
using testing::DeviceVector;
using testing::normals;
using testing::rounded;
using testing::TestPages;

const AttentionShape kShapes[] = {
    {.n_heads = 8, .n_kv_heads = 2, .head_dim = 128, .rotary_dim = 64, .kv = KvFormat::bf16},
    {.n_heads = 3, .n_kv_heads = 3, .head_dim = 64, .rotary_dim = 32, .kv = KvFormat::bf16},
    {.n_heads = 4, .n_kv_heads = 2, .head_dim = 80, .rotary_dim = 40, .kv = KvFormat::bf16},
    {.n_heads = 4, .n_kv_heads = 1, .head_dim = 256, .rotary_dim = 128, .kv = KvFormat::f32},
    {.n_heads = 2, .n_kv_heads = 2, .head_dim = 10, .rotary_dim = 4, .kv = KvFormat::f32},
    {.n_heads = 2, .n_kv_heads = 2, .head_dim = 10, .rotary_dim = 4, .kv = KvFormat::bf16},
};

std::vector<float> in_format(const std::vector<float>& values, KvFormat format) {
  return format == KvFormat::f32 ? values : rounded<__nv_bfloat16>(values);
}

TEST(CudaKvPages, ReadGivesWhatWriteRounded) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(1);
  for (const AttentionShape& shape : kShapes) {
    for (const int64_t tokens : {1, 64, 65, 200}) {
      const auto size = static_cast<size_t>(shape.n_kv_heads * tokens * shape.head_dim);
      const auto keys = normals(engine, size);
      const auto values = normals(engine, size);
      const TestPages pages({tokens}, shape, engine);
      const DeviceVector<float> device_keys(keys);
      const DeviceVector<float> device_values(values);
      const KvCopyArguments copy{pages.table(0), tokens, shape};
      kv_write(nullptr, copy, device_keys.data(), device_values.data());
      DeviceVector<float> keys_back(size);
      DeviceVector<float> values_back(size);
      kv_read(nullptr, copy, keys_back.data(), values_back.data());
      EXPECT_EQ(keys_back.host(), in_format(keys, shape.kv));
      EXPECT_EQ(values_back.host(), in_format(values, shape.kv));
    }
  }
}

template <typename Element>
void append_and_read() {
  std::mt19937 engine(2);
  for (const AttentionShape& shape : kShapes) {
    const int64_t width = shape.n_kv_heads * shape.head_dim;
    const int64_t stride = width + 8;
    const std::vector<SequenceRows> sequences = {{0, 3, 0}, {4, 70, 60}, {74, 1, 128}};  // row 3 is nobody's
    const int64_t rows = 75;
    std::vector<int32_t> row_sequence(static_cast<size_t>(rows), -1);
    std::vector<int64_t> tokens;
    for (size_t s = 0; s < sequences.size(); ++s) {
      tokens.push_back(sequences[s].start + sequences[s].count);
      for (int64_t t = 0; t < sequences[s].count; ++t) {
        row_sequence[static_cast<size_t>(sequences[s].first + t)] = static_cast<int32_t>(s);
      }
    }
    const auto keys = rounded<Element>(normals(engine, static_cast<size_t>(rows * width)));
    const auto values = rounded<Element>(normals(engine, static_cast<size_t>(rows * width)));
    const auto device_keys = device_rows<Element>(keys, width, stride);
    const auto device_values = device_rows<Element>(values, width, stride);
    const DeviceVector<SequenceRows> device_sequences(sequences);
    const DeviceVector<int32_t> device_row_sequence(row_sequence);
    const TestPages pages(tokens, shape, engine);
    kv_append<Element>(nullptr, {.queries = nullptr,
                                 .query_stride = 0,
                                 .keys = device_keys->data(),
                                 .key_stride = stride,
                                 .values = device_values->data(),
                                 .value_stride = stride,
                                 .rows = rows,
                                 .shape = shape,
                                 .cos_sin = nullptr,
                                 .by_position = false,
                                 .row_sequence = device_row_sequence.data(),
                                 .sequences = {device_sequences.data(), pages.all()}});
    for (size_t s = 0; s < sequences.size(); ++s) {
      const auto size = static_cast<size_t>(tokens[s] * width);
      DeviceVector<float> keys_back(size);
      DeviceVector<float> values_back(size);
      kv_read(nullptr, {pages.table(s), tokens[s], shape}, keys_back.data(), values_back.data());
      const auto read_keys = keys_back.host();
      const auto read_values = values_back.host();
      const auto want_keys = in_format(keys, shape.kv);
      const auto want_values = in_format(values, shape.kv);
      for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
        for (int64_t t = 0; t < tokens[s]; ++t) {
          for (int64_t e = 0; e < shape.head_dim; ++e) {
            const auto at = static_cast<size_t>((h * tokens[s] + t) * shape.head_dim + e);
            if (t < sequences[s].start) {
              ASSERT_TRUE(std::isnan(read_keys[at]) && std::isnan(read_values[at])) << "an old token was touched";
            } else {
              const auto row = sequences[s].first + t - sequences[s].start;
              const auto from = static_cast<size_t>(row * width + h * shape.head_dim + e);
              ASSERT_EQ(read_keys[at], want_keys[from]);
              ASSERT_EQ(read_values[at], want_values[from]);
            }
          }
        }
      }
    }
  }
}

TEST(CudaKvPages, AppendPutsEveryTokenInItsPlace) {
  BAMBA_SKIP_WITHOUT_GPU();
  append_and_read<float>();
  append_and_read<__nv_bfloat16>();
}

}  // namespace
}  // namespace bamba::backend::cuda
