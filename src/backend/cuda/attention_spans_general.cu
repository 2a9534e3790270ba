// Spans of keys for any shape and format, in f32 arithmetic. Right first: it is what the fast kernels are held against.
#include "backend/cuda/attention_rows.cuh"
#include "backend/cuda/attention_spans.cuh"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/elementwise_pack.cuh"
#include "backend/cuda/kv_pages_layout.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kRows = static_cast<int>(kGeneralTileRows);
constexpr int kThreads = 128;
constexpr int kRowThreads = kThreads / kRows;  // neighbours, so that a row is a warp's own
constexpr int kKeys = 32;                      // at a time
constexpr int kThreadKeys = kKeys / kRowThreads;
constexpr int kPage = static_cast<int>(kPageTokens);
constexpr int kSpan = static_cast<int>(kSpanTokens);
constexpr int kMaxDim = 256;
constexpr int kVectors = kMaxDim / (4 * kRowThreads);  // of 4 dims, per thread of a row
static_assert(kPage % kKeys == 0, "keys taken at a time lie in one page");

/// Rows of head_dim numbers, padded with zeros to whole vectors, in shared memory. 4 more floats a row put the vectors
/// that 8 neighbours read, one row each, in different banks.
__host__ __device__ constexpr int padded(int head_dim) {
  return (head_dim + 3) / 4 * 4;
}
__host__ __device__ constexpr int line_floats(int head_dim) {
  return padded(head_dim) + 4;
}
int shared_bytes(int head_dim) {
  return (kRows + kKeys) * line_floats(head_dim) * static_cast<int>(sizeof(float));
}

__device__ const float4& vector_of(const float* line, int index) {
  return reinterpret_cast<const float4*>(line)[index];
}
__device__ float dot(const float4& a, const float4& b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

template <typename Element, typename PageElement>
__global__ __launch_bounds__(kThreads) void spans_kernel(AttentionArguments<Element> a, SpanSums target) {
  extern __shared__ float memory[];
  __shared__ float weights[kRows][kKeys + 1];
  let_next_begin();
  wait_for_previous();
  const int tile = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int span = static_cast<int>(blockIdx.z);
  const TileRows rows(a, a.tiles[tile], target.tile_rows);
  if (rows.rows <= 0) return;
  const int64_t last = rows.last_position();
  const int64_t span_first = int64_t{span} * kSpan;
  if (span_first > last) return;

  const PageLayout<PageElement> layout(a.shape);
  const int head_dim = layout.head_dim;
  const int width = padded(head_dim);
  const int line = line_floats(head_dim);
  float* queries = memory;
  float* numbers = memory + kRows * line;  // keys, then values
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / kRowThreads;
  const int part = thread % kRowThreads;

  for (int i = thread; i < kRows * width; i += kThreads) {
    const int r = i / width;
    const int e = i % width;
    const bool real = r < rows.rows && e < head_dim;
    queries[r * line + e] = real ? to_float(a.queries[rows.offset(r, a.query_stride, kv_head, head_dim) + e]) : 0.0f;
  }

  const float scale = score_scale(head_dim);
  const int64_t position = rows.position(row);
  float maximum = -INFINITY;
  float total = 0;  // of this thread's keys
  float4 outputs[kVectors] = {};
  const int keys = static_cast<int>(last + 1 - span_first < kSpan ? last + 1 - span_first : kSpan);
  for (int first = 0; first < keys; first += kKeys) {
    const int64_t at = span_first + first;
    const PageElement* page = page_elements<PageElement>(a.sequences.pages[rows.sequence][at / kPage]);
    const int here = min(keys - first, kKeys);
    const auto load = [&](const PageElement* source) {
      for (int i = thread; i < kKeys * width; i += kThreads) {
        const int token = i / width;
        const int e = i % width;
        // What nobody sees is 0: a weight of 0 times what memory happens to hold may be NaN.
        const bool real = token < here && e < head_dim;
        numbers[token * line + e] =
            real ? to_float(source[layout.place(static_cast<int>(at % kPage) + token, e)]) : 0.0f;
      }
    };
    load(page + layout.keys(kv_head));
    __syncthreads();

    float scores[kThreadKeys] = {};
    for (int v = 0; v < width / 4; ++v) {
      const float4 query = vector_of(queries + row * line, v);
#pragma unroll
      for (int k = 0; k < kThreadKeys; ++k) {
        scores[k] = dot(query, vector_of(numbers + (part + k * kRowThreads) * line, v), scores[k]);
      }
    }
    float best = maximum;
#pragma unroll
    for (int k = 0; k < kThreadKeys; ++k) {
      const bool visible = at + part + k * kRowThreads <= position;
      scores[k] = visible ? scores[k] * scale : -INFINITY;
      best = fmaxf(best, scores[k]);
    }
#pragma unroll
    for (int mask = 1; mask < kRowThreads; mask *= 2) best = fmaxf(best, __shfl_xor_sync(~0U, best, mask));
    const float shift = best == -INFINITY ? 0.0f : best;  // nothing seen yet: weights of 0
    const float factor = exp2f(maximum - shift);
    maximum = best;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kThreadKeys; ++k) {
      const float weight = exp2f(scores[k] - shift);
      weights[row][part + k * kRowThreads] = weight;
      sum += weight;
    }
    total = fmaf(total, factor, sum);
#pragma unroll
    for (float4& o : outputs) o = make_float4(o.x * factor, o.y * factor, o.z * factor, o.w * factor);
    __syncthreads();
    load(page + layout.values(kv_head));
    __syncthreads();
    for (int token = 0; token < kKeys; ++token) {
      const float weight = weights[row][token];
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if ((v * kRowThreads + part) * 4 >= width) continue;
        const float4 value = vector_of(numbers + token * line, v * kRowThreads + part);
        float4& o = outputs[v];
        o = make_float4(fmaf(weight, value.x, o.x), fmaf(weight, value.y, o.y), fmaf(weight, value.z, o.z),
                        fmaf(weight, value.w, o.w));
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int mask = 1; mask < kRowThreads; mask *= 2) total += __shfl_xor_sync(~0U, total, mask);
  if (row >= rows.rows) return;
  const int64_t index = target.index(tile, kv_head, span, row);
  if (part == 0) target.softmaxes[index] = make_float2(maximum, total);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const float four[4] = {outputs[v].x, outputs[v].y, outputs[v].z, outputs[v].w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int e = (v * kRowThreads + part) * 4 + i;
      if (e < head_dim) target.outputs[index * head_dim + e] = four[i];
    }
  }
}

}  // namespace

template <typename Element>
void launch_spans_general(cudaStream_t stream, const AttentionArguments<Element>& a, const SpanSums& sums) {
  const dim3 grid(static_cast<unsigned>(a.n_tiles), static_cast<unsigned>(sums.n_kv_heads),
                  static_cast<unsigned>(sums.spans));
  const int bytes = shared_bytes(sums.head_dim);
  with_page_element(a.shape.kv, [&]<typename PageElement>(PageElement) {
    auto* kernel = spans_kernel<Element, PageElement>;
    BAMBA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(kMaxDim)));
    launch_early(stream, kernel, grid, kThreads, static_cast<size_t>(bytes), a, sums);
  });
}

template void launch_spans_general(cudaStream_t, const AttentionArguments<float>&, const SpanSums&);
template void launch_spans_general(cudaStream_t, const AttentionArguments<__nv_bfloat16>&, const SpanSums&);

}  // namespace bamba::backend::cuda
