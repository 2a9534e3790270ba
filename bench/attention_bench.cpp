// Attention of Bamba-9B's shape, one layer a call; GB/s counts the keys and values of the tokens seen, once a call.
#include <algorithm>
#include <string>

#include "shapes.h"

namespace bamba::bench {
namespace {

/// Pages of one sequence, each an allocation of its own as in a model's states, with keys and values of `tokens`.
struct Pages {
  Pages(backend::Backend& cpu, const backend::AttentionShape& shape, int64_t tokens) {
    const int64_t width = shape.n_kv_heads * shape.head_dim;
    const int64_t page_tokens = cpu.kv_page_tokens();
    auto some = normals(page_tokens * width);
    for (int64_t first = 0; first < tokens; first += page_tokens) {
      buffers.push_back(cpu.allocate(cpu.kv_page_bytes(shape)));
      pointers.push_back(buffers.back().floats());
    }
    for (int64_t first = 0; first < tokens; first += page_tokens) {
      const backend::SequenceRows rows{0, std::min(page_tokens, tokens - first), first};
      const backend::Matrix page = matrix(some, rows.count, width);
      float* const* table = pointers.data();
      cpu.kv_append(page, page, {&rows, 1}, {&table, 1}, shape);
    }
  }
  std::vector<backend::Buffer> buffers;
  std::vector<float*> pointers;
};

backend::AttentionShape shape_of(benchmark::State& state, KvFormat format) {
  backend::AttentionShape shape = kAttention;
  shape.kv = format;
  state.SetLabel(std::string(kv_format_name(format)));
  return shape;
}

/// Bytes of keys and values of one token.
double token_bytes(const backend::AttentionShape& shape) {
  return (shape.kv == KvFormat::f32 ? 8.0 : 4.0) * static_cast<double>(shape.n_kv_heads * shape.head_dim);
}

/// args: sequences, new tokens of each, tokens before them, format, threads
void attention(benchmark::State& state) {
  const int64_t batch = state.range(0);
  const int64_t count = state.range(1);
  const int64_t start = state.range(2);
  const auto shape = shape_of(state, static_cast<KvFormat>(state.range(3)));
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(4)));
  const int64_t width = shape.n_heads * shape.head_dim;
  std::vector<Pages> pages;
  std::vector<backend::SequenceRows> rows;
  std::vector<float* const*> tables;
  for (int64_t s = 0; s < batch; ++s) {
    pages.emplace_back(*cpu, shape, start + count);
    rows.push_back({s * count, count, start});
    tables.push_back(pages.back().pointers.data());
  }
  auto queries = normals(batch * count * width);
  auto out = normals(batch * count * width);
  for (auto step : state) {
    static_cast<void>(step);
    cpu->attention(matrix(queries, batch * count, width), rows, tables, shape, matrix(out, batch * count, width));
  }
  const auto pairs = static_cast<double>(batch * (count * start + count * (count + 1) / 2));
  rate(state, "GFLOP/s", 4.0 * pairs * static_cast<double>(width));
  rate(state, "GB/s", static_cast<double>(batch * (start + count)) * token_bytes(shape));
}
BENCHMARK(attention)
    ->ArgNames({"batch", "new", "before", "kv", "threads"})
    ->ArgsProduct({{1}, {1}, {511, 32767}, {0, 1}, {1, 2}})
    ->ArgsProduct({{8}, {1}, {2047}, {0, 1}, {2}})
    ->ArgsProduct({{1}, {512}, {0, 4096, 15872}, {0, 1}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

/// args: new tokens, format, threads
void kv_append(benchmark::State& state) {
  const int64_t count = state.range(0);
  const auto shape = shape_of(state, static_cast<KvFormat>(state.range(1)));
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(2)));
  const int64_t width = shape.n_kv_heads * shape.head_dim;
  Pages pages(*cpu, shape, count);
  auto keys = normals(count * width);
  auto values = normals(count * width);
  const backend::SequenceRows rows{0, count, 0};
  float* const* table = pages.pointers.data();
  for (auto step : state) {
    static_cast<void>(step);
    cpu->kv_append(matrix(keys, count, width), matrix(values, count, width), {&rows, 1}, {&table, 1}, shape);
  }
  rate(state, "GB/s", static_cast<double>(count) * (token_bytes(shape) + 8.0 * static_cast<double>(width)));
}
BENCHMARK(kv_append)
    ->ArgNames({"tokens", "kv", "threads"})
    ->ArgsProduct({{1, 512}, {0, 1}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bamba::bench
