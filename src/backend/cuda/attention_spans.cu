// Spans of keys computed by blocks of their own, then merged.
#include "backend/cuda/attention_spans.cuh"

#include <bamba/error.h>

#include <algorithm>
#include <string>

#include "backend/cuda/attention_rows.cuh"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/elementwise_pack.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kMaxDim = 256;
constexpr int kLaneDims = kMaxDim / 32;

/// A block: one row and head. Warp w takes spans w, w + 8, ... in order, then the warps' sums are added in order: the
/// spans a row sees decide all of the order, and 8 warps fetch at the same time.
template <typename Element>
__global__ __launch_bounds__(kWarps * 32) void merge_kernel(AttentionArguments<Element> a, SpanSums sums) {
  let_next_begin();
  wait_for_previous();
  __shared__ float outputs[kWarps][kMaxDim];
  __shared__ float totals[kWarps];
  __shared__ float maxima[kWarps];
  const int tile = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int row = static_cast<int>(blockIdx.z);
  const TileRows rows(a, a.tiles[tile], sums.tile_rows);
  if (row >= rows.rows) return;
  const int spans = static_cast<int>(rows.position(row) / kSpanTokens) + 1;
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int lane = thread % 32;

  float maximum = -INFINITY;
  for (int s = thread; s < spans; s += kWarps * 32) {
    maximum = fmaxf(maximum, sums.softmaxes[sums.index(tile, kv_head, s, row)].x);
  }
#pragma unroll
  for (int mask = 1; mask < 32; mask *= 2) maximum = fmaxf(maximum, __shfl_xor_sync(~0U, maximum, mask));
  if (lane == 0) maxima[warp] = maximum;
  __syncthreads();
  maximum = maxima[0];
  for (int w = 1; w < kWarps; ++w) maximum = fmaxf(maximum, maxima[w]);

  float total = 0;
  float output[kLaneDims] = {};
#pragma unroll 4
  for (int s = warp; s < spans; s += kWarps) {
    const int64_t index = sums.index(tile, kv_head, s, row);
    const float2 softmax = sums.softmaxes[index];
    const float weight = exp2f(softmax.x - maximum);
    total = fmaf(weight, softmax.y, total);
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) {
      if (i * 32 + lane < sums.head_dim) {
        output[i] = fmaf(weight, sums.outputs[index * sums.head_dim + i * 32 + lane], output[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kLaneDims; ++i) outputs[warp][i * 32 + lane] = output[i];
  if (lane == 0) totals[warp] = total;
  __syncthreads();

  if (thread >= sums.head_dim) return;
  total = totals[0];
  float sum = outputs[0][thread];
  for (int w = 1; w < kWarps; ++w) {
    total += totals[w];
    sum += outputs[w][thread];
  }
  a.out[rows.offset(row, a.out_stride, kv_head, sums.head_dim) + thread] = from_float<Element>(sum / total);
}

int64_t spans_of(int64_t max_tokens) {
  return (max_tokens + kSpanTokens - 1) / kSpanTokens;
}

}  // namespace

template <typename Element>
int64_t span_tile_rows(const AttentionShape& shape, int64_t max_count) {
  const bool tensor_cores = sizeof(Element) == 2 && spans_on_tensor_cores(shape);
  return std::min(tensor_cores ? kMmaTileRows : kGeneralTileRows, max_count * (shape.n_heads / shape.n_kv_heads));
}

template <typename Element>
size_t attention_spans_workspace_bytes(const AttentionShape& shape, int64_t tiles, int64_t tile_rows,
                                       int64_t max_tokens) {
  return SpanSums::bytes(shape, tiles, tile_rows, spans_of(max_tokens));
}

template <typename Element>
void attention_spans(cudaStream_t stream, const AttentionArguments<Element>& all, const SpansArguments& spans) {
  if (all.n_tiles == 0) return;
  if (all.shape.head_dim > kMaxDim) {
    throw Error(ErrorCode::unsupported,
                "attention on CUDA takes heads of at most 256 dims, not " + std::to_string(all.shape.head_dim));
  }
  const int64_t n_spans = spans_of(spans.max_tokens);
  const size_t tile_bytes = SpanSums::bytes(all.shape, 1, spans.tile_rows, n_spans);
  const auto at_once = std::min(all.n_tiles, static_cast<int64_t>(spans.workspace_bytes / tile_bytes));
  if (at_once == 0) {
    throw Error(ErrorCode::invalid_argument, "attention_spans needs a workspace of " + std::to_string(tile_bytes) +
                                                 " bytes, not " + std::to_string(spans.workspace_bytes));
  }
  for (int64_t first = 0; first < all.n_tiles; first += at_once) {
    AttentionArguments<Element> a = all;
    a.tiles = all.tiles + first;
    a.n_tiles = std::min(at_once, all.n_tiles - first);
    const SpanSums sums(spans.workspace, a.shape, a.n_tiles, spans.tile_rows, n_spans);
    bool done = false;
    if constexpr (sizeof(Element) == 2) {
      // Rows read 16 bytes at a time.
      if (spans_on_tensor_cores(a.shape) && spans.tile_rows <= kMmaTileRows &&
          rows_aligned(a.queries, a.query_stride, 8)) {
        launch_spans_mma(stream, a, sums);
        done = true;
      }
    }
    if (!done) launch_spans_general(stream, a, sums);
    const dim3 grid(static_cast<unsigned>(a.n_tiles), static_cast<unsigned>(a.shape.n_kv_heads),
                    static_cast<unsigned>(spans.tile_rows));
    launch_early(stream, merge_kernel<Element>, grid, kWarps * 32, 0, a, sums);
  }
}

template int64_t span_tile_rows<float>(const AttentionShape&, int64_t);
template int64_t span_tile_rows<__nv_bfloat16>(const AttentionShape&, int64_t);
template size_t attention_spans_workspace_bytes<float>(const AttentionShape&, int64_t, int64_t, int64_t);
template size_t attention_spans_workspace_bytes<__nv_bfloat16>(const AttentionShape&, int64_t, int64_t, int64_t);
template void attention_spans(cudaStream_t, const AttentionArguments<float>&, const SpansArguments&);
template void attention_spans(cudaStream_t, const AttentionArguments<__nv_bfloat16>&, const SpansArguments&);

}  // namespace bamba::backend::cuda
