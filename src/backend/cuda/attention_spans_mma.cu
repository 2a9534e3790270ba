// Spans of keys for few queries, on the tensor cores: what counts is to read keys and values once, at full speed.
//
// A warp takes one page of 64 tokens, 16 tokens at a time, straight from global memory into registers. Tokens are the
// rows of the products (the left operand), up to 8 query rows their columns:
//   scores^T [16 tokens, 8] = keys [16, dims] queries^T,   outputs^T [dims, 8] += values^T [dims, 16 tokens] weights^T.
// The order of the dims within a product is free, so a thread's 16 bytes of a key, 8 dims, serve as the operands of two
// products over 16 dims; and each product of values takes those dims as rows that the threads have.
#include <cuda_bf16.h>

#include "backend/cuda/attention_rows.cuh"
#include "backend/cuda/attention_spans.cuh"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/kv_pages_layout.cuh"

namespace bamba::backend::cuda {
namespace {

using Bf16 = __nv_bfloat16;

constexpr int kWarps = 4;
constexpr int kStep = 16;  // tokens at a time
constexpr int kPage = static_cast<int>(kPageTokens);
constexpr int kSpan = static_cast<int>(kSpanTokens);
static_assert(kSpan == kWarps * kPage, "a page per warp");
constexpr int kQueryRows = static_cast<int>(kMmaTileRows);

/// d[16, 8] += a[16, 16] b[16, 8]. Thread 4g + j has of a: {row g, columns 2j, 2j + 1}, {row g + 8, the same}, {row g,
/// columns 2j + 8, 2j + 9}, {row g + 8, the same}; of b: {rows 2j, 2j + 1, column g}, {rows 2j + 8, 2j + 9, column g};
/// of d: row g, columns 2j, 2j + 1, then row g + 8.
__device__ void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Two rounded weights, of one token and columns 2j, 2j + 1, to those of column g and tokens 2j, 2j + 1.
__device__ uint32_t transposed_weights(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  uint32_t out;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(out) : "r"(reinterpret_cast<const uint32_t&>(pair)));
  return out;
}

__device__ uint4 load_chunk(const Bf16* source) {
  return *reinterpret_cast<const uint4*>(source);
}

/// What one warp knows of its page: sums for columns (query rows) 2j and 2j + 1.
template <int kDim>
struct WarpSums {
  static constexpr int kSlabs = kDim / kSlabDims;
  float outputs[kSlabs][4][4] = {};  // [.][i]: dims 8g + 2i (columns 2j, 2j + 1), then 8g + 2i + 1, of the slab
  float maximum[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};  // of this thread's tokens
};

template <int kDim>
__device__ void attend_page(WarpSums<kDim>& sums, const uint4 (&queries)[kDim / 32], const Bf16* keys,
                            const Bf16* values, int tokens, const int (&visible)[2]) {
  constexpr int kSlabs = kDim / kSlabDims;
  const int g = threadIdx.x % 32 / 4;
  const int j = threadIdx.x % 4;
  const uint4 zero = make_uint4(0, 0, 0, 0);
  // Keys of tokens g and g + 8 of a step: chunks j, j + 4 of each slab. The swizzle has the same effect on both tokens.
  const auto load_keys = [&](int first, uint4(&out)[2][kDim / 32]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int c = 0; c < kDim / 32; ++c) {
        const int chunk = (j + c % 2 * 4) ^ g;
        const int token = first + g + half * 8;
        out[half][c] = load_chunk(keys + c / 2 * kSlabElements + token * kSlabDims + chunk * kChunkDims);
      }
    }
  };

  uint4 key[2][kDim / 32];
  load_keys(0, key);
#pragma unroll 1
  for (int first = 0; first < tokens; first += kStep) {
    // Values of tokens 2j, 2j + 1, 2j + 8, 2j + 9: chunk g of each slab. What nobody sees is 0, since a weight of 0
    // times what memory happens to hold may be NaN.
    uint4 value[kSlabs][4];
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
#pragma unroll
      for (int t = 0; t < 4; ++t) {
        const int token = first + 2 * j + t % 2 + t / 2 * 8;
        const Bf16* source = values + slab * kSlabElements + token * kSlabDims + (g ^ (token % 8)) * kChunkDims;
        value[slab][t] = token < tokens ? load_chunk(source) : zero;
      }
    }

    float scores[4] = {0, 0, 0, 0};  // tokens g (columns 2j, 2j + 1) and g + 8
#pragma unroll
    for (int c = 0; c < kDim / 32; ++c) {
      const uint4& low = key[0][c];
      const uint4& high = key[1][c];
      multiply(scores, low.x, high.x, low.y, high.y, queries[c].x, queries[c].y);
      multiply(scores, low.z, high.z, low.w, high.w, queries[c].z, queries[c].w);
    }
    if (first + kStep < tokens) load_keys(first + kStep, key);

    constexpr float kScale = 1.44269504088896341f / (kDim == 64 ? 8.0f : 11.3137084989847604f);
    float factor[2];
#pragma unroll
    for (int column = 0; column < 2; ++column) {
      float& low = scores[column];
      float& high = scores[2 + column];
      low = first + g < visible[column] ? low * kScale : -INFINITY;
      high = first + g + 8 < visible[column] ? high * kScale : -INFINITY;
      float best = fmaxf(low, high);
#pragma unroll
      for (int mask = 4; mask < 32; mask *= 2) best = fmaxf(best, __shfl_xor_sync(~0U, best, mask));
      best = fmaxf(best, sums.maximum[column]);
      const float shift = best == -INFINITY ? 0.0f : best;  // nothing seen yet: weights of 0
      factor[column] = exp2_fast(sums.maximum[column] - shift);
      sums.maximum[column] = best;
      low = exp2_fast(low - shift);
      high = exp2_fast(high - shift);
      sums.total[column] = fmaf(sums.total[column], factor[column], low + high);
    }
    const uint32_t weights_low = transposed_weights(scores[0], scores[1]);
    const uint32_t weights_high = transposed_weights(scores[2], scores[3]);

#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      const uint4(&v)[4] = value[slab];
      const uint32_t words[4][4] = {{v[0].x, v[0].y, v[0].z, v[0].w},
                                    {v[1].x, v[1].y, v[1].z, v[1].w},
                                    {v[2].x, v[2].y, v[2].z, v[2].w},
                                    {v[3].x, v[3].y, v[3].z, v[3].w}};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float(&o)[4] = sums.outputs[slab][i];
        o[0] *= factor[0];
        o[1] *= factor[1];
        o[2] *= factor[0];
        o[3] *= factor[1];
        multiply(o, __byte_perm(words[0][i], words[1][i], 0x5410), __byte_perm(words[0][i], words[1][i], 0x7632),
                 __byte_perm(words[2][i], words[3][i], 0x5410), __byte_perm(words[2][i], words[3][i], 0x7632),
                 weights_low, weights_high);
      }
    }
  }
}

/// A block: one tile of rows, KV head and span.
template <int kDim>
__global__ __launch_bounds__(kWarps * 32, 3) void spans_kernel(AttentionArguments<Bf16> a, SpanSums target) {
  __shared__ float outputs[kWarps][kQueryRows][kDim];
  __shared__ float maxima[kWarps][kQueryRows];
  __shared__ float totals[kWarps][kQueryRows];
  let_next_begin();
  wait_for_previous();
  const int tile = static_cast<int>(blockIdx.x);
  const int kv_head = static_cast<int>(blockIdx.y);
  const int span = static_cast<int>(blockIdx.z);
  const TileRows rows(a, a.tiles[tile], target.tile_rows);
  if (rows.rows <= 0) return;
  const int64_t last = rows.last_position();
  if (int64_t{span} * kSpan > last) return;

  const int warp = static_cast<int>(threadIdx.x / 32);
  const int g = threadIdx.x % 32 / 4;
  const int j = threadIdx.x % 4;
  const int64_t page = int64_t{span} * kWarps + warp;
  const int64_t ahead = last + 1 - page * kPage;
  WarpSums<kDim> sums;
  if (ahead > 0) {
    const Bf16* numbers = page_elements<Bf16>(a.sequences.pages[rows.sequence][page]);
    uint4 queries[kDim / 32];
#pragma unroll
    for (int c = 0; c < kDim / 32; ++c) {
      queries[c] = make_uint4(0, 0, 0, 0);
      if (g < rows.rows) {
        const Bf16* query = a.queries + rows.offset(g, a.query_stride, kv_head, kDim);
        queries[c] = *reinterpret_cast<const uint4*>(query + c / 2 * kSlabDims + (j + c % 2 * 4) * kChunkDims);
      }
    }
    int visible[2];
    for (int column = 0; column < 2; ++column) {
      const int64_t own = rows.position(2 * j + column) + 1 - page * kPage;
      visible[column] = static_cast<int>(own < kPage ? own : kPage);
    }
    const PageLayout<Bf16> layout(a.shape);
    attend_page<kDim>(sums, queries, numbers + layout.keys(kv_head), numbers + layout.values(kv_head),
                      static_cast<int>(ahead < kPage ? ahead : kPage), visible);
  }

#pragma unroll
  for (int column = 0; column < 2; ++column) {
    float total = sums.total[column];
#pragma unroll
    for (int mask = 4; mask < 32; mask *= 2) total += __shfl_xor_sync(~0U, total, mask);
    const int row = 2 * j + column;
    if (g == 0) {
      maxima[warp][row] = sums.maximum[column];
      totals[warp][row] = total;
    }
#pragma unroll
    for (int slab = 0; slab < kDim / kSlabDims; ++slab) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        *reinterpret_cast<float2*>(&outputs[warp][row][slab * kSlabDims + g * kChunkDims + 2 * i]) =
            make_float2(sums.outputs[slab][i][column], sums.outputs[slab][i][2 + column]);
      }
    }
  }
  __syncthreads();

  // The pages' sums, in order. A row that sees nothing of the span leaves sums of 0.
  const int64_t base = target.index(tile, kv_head, span, 0);
  for (int i = static_cast<int>(threadIdx.x); i < rows.rows * kDim; i += kWarps * 32) {
    const int row = i / kDim;
    const int e = i % kDim;
    float maximum = maxima[0][row];
    for (int w = 1; w < kWarps; ++w) maximum = fmaxf(maximum, maxima[w][row]);
    const float shift = maximum == -INFINITY ? 0.0f : maximum;
    float output = 0;
    float total = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float weight = exp2_fast(maxima[w][row] - shift);
      output = fmaf(weight, outputs[w][row][e], output);
      total = fmaf(weight, totals[w][row], total);
    }
    target.outputs[base * kDim + i] = output;
    if (e == 0) target.softmaxes[base + row] = make_float2(maximum, total);
  }
}

}  // namespace

void launch_spans_mma(cudaStream_t stream, const AttentionArguments<Bf16>& a, const SpanSums& sums) {
  const dim3 grid(static_cast<unsigned>(a.n_tiles), static_cast<unsigned>(sums.n_kv_heads),
                  static_cast<unsigned>(sums.spans));
  if (sums.head_dim == 64) {
    launch_early(stream, spans_kernel<64>, grid, kWarps * 32, 0, a, sums);
  } else {
    launch_early(stream, spans_kernel<128>, grid, kWarps * 32, 0, a, sums);
  }
}

}  // namespace bamba::backend::cuda
