#include "backend/cuda/scan_tables.cuh"

#include "backend/cuda/check.h"
#include "backend/cuda/scan_mma.cuh"
#include "backend/cuda/scan_time_step.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
using Arguments = ScanArguments<__nv_bfloat16>;

/// 32 heads, one a lane; each warp takes 8 tokens. Sums are added in f64 and rounded once, and no step counts for more
/// than 2^-128, which is nothing in f32: so sums stay above -8192 and keep 2^-11 of a unit in the worst case.
__device__ void fill_time_steps(const Arguments& args, const ScanTables& tables, const BlockRows& rows, int64_t block,
                                int64_t head) {
  constexpr int kTokens = kBlockTokens / kWarps;
  __shared__ double totals[kWarps][32];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const bool inside = head < args.shape.n_heads;
  float delta[kTokens];
  double sums[kTokens];
  double sum = 0;
  const float bias = inside ? args.dt_bias[head] : 0;
  const float a = inside ? args.a[head] : 0;
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    const int token = warp * kTokens + i;
    delta[i] = 0;
    if (inside && token < rows.count) {
      const float raw = to_float(args.dt[(rows.first + token) * args.dt_stride + head]) + bias;
      delta[i] = time_step(raw, args.shape.time_step_min, args.shape.time_step_max);
    }
    sum += fmax(static_cast<double>(delta[i] * a) * 1.4426950408889634, -128.0);
    sums[i] = sum;
  }
  totals[warp][lane] = sum;
  __syncthreads();
  if (!inside) return;
  double before = 0;
  for (int w = 0; w < warp; ++w) before += totals[w][lane];
  const int64_t at = tables.head_at(block, head) + warp * kTokens;
  float rounded[kTokens];
#pragma unroll
  for (int i = 0; i < kTokens; ++i) rounded[i] = static_cast<float>(before + sums[i]);
  store_vector(tables.delta + at, delta);
  store_vector(tables.sums + at, rounded);
}

/// Warps w and w + 4 share rows [16 w, 16 w + 16) of the block's scores and split their columns.
///
/// The sum over d_state may run in any order that C and B share: a lane's 16-byte piece, d_state 32 kk + 8q + (0..7),
/// is taken as its four words of two products' operands, so that both come from memory just as a lane needs them.
template <int kState>
__device__ void fill_scores(const Arguments& args, const ScanTables& tables, const BlockRows& rows, int64_t block,
                            int64_t group) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int w = static_cast<int>(threadIdx.x) / 32 % 4;
  const int first_tile = static_cast<int>(threadIdx.x) / 128 * (w + 1);
  const int g = lane / 4;
  const int q = lane % 4;
  const __nv_bfloat16* b =
      args.xbc + rows.first * args.xbc_stride + args.shape.n_heads * args.shape.d_head + group * kState + q * 8;
  const __nv_bfloat16* c = b + args.shape.n_groups * kState;
  const auto load = [&](const __nv_bfloat16* p, int row, int kk) {
    return row < rows.count ? *reinterpret_cast<const uint4*>(p + row * args.xbc_stride + kk * 32)
                            : make_uint4(0, 0, 0, 0);
  };
  float sums[4][4] = {};
#pragma unroll
  for (int kk = 0; kk < kState / 32; ++kk) {
    const uint4 upper = load(c, 16 * w + g, kk);
    const uint4 lower = load(c, 16 * w + g + 8, kk);
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      if (t > w) break;
      const uint4 column = load(b, 8 * (first_tile + t) + g, kk);
      multiply_tiles(sums[t], upper.x, lower.x, upper.y, lower.y, column.x, column.y);
      multiply_tiles(sums[t], upper.z, lower.z, upper.w, lower.w, column.z, column.w);
    }
  }
  float4* out = tables.scores_of(block, group);
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    if (t > w) break;
    out[score_tile(w, first_tile + t) * 32 + lane] = make_float4(sums[t][0], sums[t][1], sums[t][2], sums[t][3]);
  }
}

template <int kState>
__global__ __launch_bounds__(kThreads) void tables_kernel(const Arguments args, const ScanTables tables) {
  const int64_t block = blockIdx.x;
  const Tile tile = find_tile(args.sequences, args.n_sequences, kBlockNumbering, block);
  if (tile.index < 0) return;
  const BlockRows rows = block_rows(args.sequences[tile.sequence], tile.index);
  if (rows.count <= 0) return;
  if (blockIdx.y < args.shape.n_groups) {
    fill_scores<kState>(args, tables, rows, block, blockIdx.y);
  } else {
    const int64_t head = (blockIdx.y - args.shape.n_groups) * 32 + threadIdx.x % 32;
    fill_time_steps(args, tables, rows, block, head);
  }
}

}  // namespace

void fill_scan_tables(cudaStream_t stream, const Arguments& args, const ScanTables& tables) {
  const dim3 grid(static_cast<unsigned>(kBlockNumbering.total(args.rows, args.n_sequences)),
                  static_cast<unsigned>(args.shape.n_groups + (args.shape.n_heads + 31) / 32));
  if (args.shape.d_state == 64) {
    tables_kernel<64><<<grid, kThreads, 0, stream>>>(args, tables);
  } else {
    tables_kernel<128><<<grid, kThreads, 0, stream>>>(args, tables);
  }
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace bamba::backend::cuda
