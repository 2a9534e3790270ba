// Attention at the 9B shape: prompts against the tensor cores, decoding against memory.
#include "cuda/attention_sequences.h"
#include "cuda/timing.h"

namespace {

using namespace bamba::bench;
using Bf16 = __nv_bfloat16;

cuda::AttentionArguments<Bf16> arguments_of(const BenchSequences& sequences, int64_t tile_rows) {
  int64_t rows = 0;
  for (const auto& own : sequences.rows) rows += own.count;
  const int64_t width = kShape9b.n_heads * kShape9b.head_dim;
  const auto tiles = cuda::attention_tiles(sequences.rows, kShape9b, tile_rows);
  return {.queries = device_numbers(static_cast<size_t>(rows * width)),
          .query_stride = width,
          .out = device_numbers(static_cast<size_t>(rows * width)),
          .out_stride = width,
          .shape = kShape9b,
          .sequences = {sequences.device_rows, sequences.pages},
          .tiles = device_array(tiles),
          .n_tiles = static_cast<int64_t>(tiles.size())};
}

void prefill(const char* what, const std::vector<SequenceRows>& rows) {
  const BenchSequences sequences(rows);
  const auto arguments = arguments_of(sequences, cuda::kPrefillTileRows);
  double pairs = 0;
  for (const auto& own : rows) {
    pairs += static_cast<double>(own.count) * (static_cast<double>(own.start) + static_cast<double>(own.count + 1) / 2);
  }
  const double flops = 4 * pairs * static_cast<double>(kShape9b.n_heads * kShape9b.head_dim);
  const double us = median_microseconds(
      nullptr, [&](cudaStream_t stream, int) { cuda::attention_prefill(stream, arguments); }, 5, 5);
  std::printf("%-34s %10.1f us %8.1f TFLOP/s %6.1f %%\n", what, us, flops / us * 1e-6,
              100 * flops / us * 1e6 / kTensorFlopsPerSecond);
}

void decode(const char* what, const std::vector<SequenceRows>& rows) {
  constexpr int kSets = 3;  // together more than L2 holds, for the sizes that matter
  std::vector<cuda::AttentionArguments<Bf16>> arguments;
  int64_t count = 0;
  int64_t longest = 0;
  double tokens = 0;
  for (const auto& own : rows) {
    count = std::max(count, own.count);
    longest = std::max(longest, own.start + own.count);
    tokens += static_cast<double>(own.start + own.count);
  }
  const int64_t tile_rows = cuda::span_tile_rows<Bf16>(kShape9b, count);
  for (int i = 0; i < kSets; ++i) arguments.push_back(arguments_of(BenchSequences(rows), tile_rows));
  const size_t bytes = cuda::attention_spans_workspace_bytes<Bf16>(kShape9b, arguments[0].n_tiles, tile_rows, longest);
  void* workspace = nullptr;
  BAMBA_CUDA_CHECK(cudaMalloc(&workspace, bytes));
  const double us = median_microseconds(nullptr, [&](cudaStream_t stream, int call) {
    cuda::attention_spans(stream, arguments[static_cast<size_t>(call % kSets)], {tile_rows, longest, workspace, bytes});
  });
  const double read = tokens * static_cast<double>(cuda::kv_page_bytes(kShape9b) / cuda::kPageTokens);
  std::printf("%-34s %10.1f us %8.1f GB/s    %6.1f %%\n", what, us, read / us * 1e-3,
              100 * read / us * 1e6 / kCopyBytesPerSecond);
  BAMBA_CUDA_CHECK(cudaFree(workspace));
}

}  // namespace

int main() {
  std::printf("32 heads, 8 KV heads, head_dim 128, bf16 pages; %% of 750 TFLOP/s and of 3.0 TB/s\n");
  prefill("prompt of 512", {{0, 512, 0}});
  prefill("prompt of 2048", {{0, 2048, 0}});
  prefill("prompt of 8192", {{0, 8192, 0}});
  prefill("prompt of 32768", {{0, 32768, 0}});
  prefill("512 tokens after 8192", {{0, 512, 8192}});
  std::vector<SequenceRows> ragged;
  for (int64_t i = 0; i < 16; ++i) ragged.push_back({i * 512, 512, 0});
  prefill("16 prompts of 512", ragged);
  decode("1 token at 512", {{0, 1, 511}});
  decode("1 token at 4096", {{0, 1, 4095}});
  decode("1 token at 32768", {{0, 1, 32767}});
  decode("1 token at 131072", {{0, 1, 131071}});
  decode("8 tokens after 32760", {{0, 8, 32760}});
  std::vector<SequenceRows> batch;
  for (int64_t i = 0; i < 32; ++i) batch.push_back({i, 1, 1000 + 64 * i});
  decode("32 sequences at 1000 to 3000", batch);
  return 0;
}
