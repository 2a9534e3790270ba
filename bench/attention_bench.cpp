// Attention of Bamba-9B's shape, one layer a call; GB/s counts the keys and values of the tokens seen, once a call.
#include "shapes.h"

namespace bamba::bench {
namespace {

/// args: new tokens, tokens before them, threads
void attention(benchmark::State& state) {
  const int64_t count = state.range(0);
  const int64_t start = state.range(1);
  const auto cpu = backend::make_cpu_backend(static_cast<int>(state.range(2)));
  const int64_t page_count = (start + count + cpu->kv_page_tokens() - 1) / cpu->kv_page_tokens();
  const auto page_floats = static_cast<int64_t>(cpu->kv_page_bytes(kAttention) / sizeof(float));
  auto memory = normals(page_count * page_floats);
  std::vector<float*> pages;
  for (int64_t p = 0; p < page_count; ++p) pages.push_back(memory.data() + p * page_floats);
  float* const* const table = pages.data();
  const int64_t width = kAttention.n_heads * kAttention.head_dim;
  auto queries = normals(count * width);
  auto out = normals(count * width);
  const backend::SequenceRows rows{0, count, start};
  for (auto step : state) {
    static_cast<void>(step);
    cpu->attention(matrix(queries, count, width), {&rows, 1}, {&table, 1}, kAttention, matrix(out, count, width));
  }
  const double pairs =
      static_cast<double>(count) * static_cast<double>(start) + static_cast<double>(count * (count + 1)) / 2;
  rate(state, "GFLOP/s", 4.0 * pairs * static_cast<double>(width));
  rate(state, "GB/s", 8.0 * static_cast<double>((start + count) * kAttention.n_kv_heads * kAttention.head_dim));
}
BENCHMARK(attention)
    ->ArgNames({"new", "before", "threads"})
    ->ArgsProduct({{1}, {1024, 32767}, {1, 2}})
    ->ArgsProduct({{512}, {0, 4096}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bamba::bench
