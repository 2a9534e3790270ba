// Attention of prompts on the tensor cores.
//
// A block: two warpgroups that compute, 64 query rows each, and a warp (of a third) that brings keys and values. Pages
// hold them in the very layout wgmma reads (kv_pages_layout.cuh), so bringing is a few bulk copies that one thread
// starts, two stages ahead. While the tensor cores multiply the weights of one tile with its values, the threads
// compute the softmax of the next tile; with two warpgroups the tensor cores have work nearly always.
#include <cuda_bf16.h>

#include "backend/cuda/attention.h"
#include "backend/cuda/attention_rows.cuh"
#include "backend/cuda/attention_wgmma.cuh"
#include "backend/cuda/bulk_copy.cuh"
#include "backend/cuda/check.h"
#include "backend/cuda/elementwise_pack.cuh"
#include "backend/cuda/kv_pages_layout.cuh"

namespace bamba::backend::cuda {
namespace {

using Bf16 = __nv_bfloat16;

constexpr int kRows = static_cast<int>(kPrefillTileRows);
constexpr int kTileKeys = 128;
constexpr int kTilePages = kTileKeys / static_cast<int>(kPageTokens);
constexpr int kStages = 2;
constexpr int kComputeThreads = 256;
constexpr int kComputeWarps = kComputeThreads / 32;
constexpr int kThreads = kComputeThreads + 128;
// Of the 168 registers a thread that 384 threads may have, the copying warpgroup gives most to the computing ones.
constexpr int kCopyRegisters = 24;
constexpr int kComputeRegisters = 240;
static_assert(kComputeThreads * kComputeRegisters + (kThreads - kComputeThreads) * kCopyRegisters <= 65536);
constexpr int kLineBytes = kSlabDims * 2;           // a row of a slab
constexpr int kSlabBytes = kTileKeys * kLineBytes;  // of a tile: 128 rows
static_assert(kRows == kTileKeys, "queries and keys share the size of a slab");

/// Shared memory, from an address aligned to 1024 on; matrices are slabs of 64 dims, [dims / 64][128 rows][64].
template <int kDim>
struct Shared {
  static constexpr int kSlabs = kDim / kSlabDims;
  static constexpr int kMatrixBytes = kSlabs * kSlabBytes;

  uint8_t queries[kMatrixBytes];
  uint8_t keys[kStages][kMatrixBytes];
  uint8_t values[kStages][kMatrixBytes];
  CopyBarrier keys_full[kStages];
  CopyBarrier keys_empty[kStages];
  CopyBarrier values_full[kStages];
  CopyBarrier values_empty[kStages];
};

/// Row and chunk of 8 dims in a slab's rows of 128 bytes: the address wgmma expects.
__device__ int swizzled(int row, int chunk) {
  return row * kLineBytes + (chunk ^ (row % 8)) * 16;
}

/// The copying warp: tile after tile, keys and values of as many tokens as the tile's last query sees.
template <int kDim>
__device__ void bring(Shared<kDim>& shared, const PageLayout<Bf16>& layout, float* const* pages, int kv_head,
                      int64_t tokens) {
  constexpr int kSlabs = Shared<kDim>::kSlabs;
  const int lane = threadIdx.x % 32;
  const int tiles = static_cast<int>((tokens + kTileKeys - 1) / kTileKeys);
  for (int tile = 0; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    const int parity = tile / kStages % 2;
    const int64_t left = tokens - int64_t{tile} * kTileKeys;
    const int rows = static_cast<int>(left < kTileKeys ? left : kTileKeys);
    const auto copy = [&](uint8_t* target, int64_t offset, CopyBarrier& full) {
      full.arrive_and_expect(rows * kDim * 2);
      for (int p = 0; p * static_cast<int>(kPageTokens) < rows; ++p) {
        const int page_rows = min(rows - p * static_cast<int>(kPageTokens), static_cast<int>(kPageTokens));
        const Bf16* source = page_elements<Bf16>(pages[int64_t{tile} * kTilePages + p]) + offset;
        for (int slab = 0; slab < kSlabs; ++slab) {
          copy_bytes(shared_address(target) + slab * kSlabBytes + p * static_cast<int>(kPageTokens) * kLineBytes,
                     source + slab * kSlabElements, page_rows * kLineBytes, full);
        }
      }
    };
    shared.keys_empty[stage].wait(parity ^ 1);
    if (lane == 0) copy(shared.keys[stage], layout.keys(kv_head), shared.keys_full[stage]);
    shared.values_empty[stage].wait(parity ^ 1);
    // Tokens nobody sees get weight 0, but 0 times what memory happens to hold may be NaN.
    for (int i = rows * 8 + lane; i < kTileKeys * 8; i += 32) {
      for (int slab = 0; slab < kSlabs; ++slab) {
        *reinterpret_cast<uint4*>(shared.values[stage] + slab * kSlabBytes + i * 16) = make_uint4(0, 0, 0, 0);
      }
    }
    if (rows < kTileKeys) fence_async_proxy();
    __syncwarp();
    if (lane == 0) copy(shared.values[stage], layout.values(kv_head), shared.values_full[stage]);
  }
}

/// The running softmax of the two rows, g and g + 8 of its warp's 16, of which a thread has every fourth pair of keys.
struct Softmax {
  float scale;
  float maximum[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};  // this thread's part

  /// Scores to weights 2^(scale (score - maximum)); returns by what to multiply what was summed up to now.
  __device__ float2 weigh(float (&s)[64]) {
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float best = s[2 * r];
#pragma unroll
      for (int i = 0; i < 16; ++i) best = fmaxf(best, fmaxf(s[4 * i + 2 * r], s[4 * i + 2 * r + 1]));
      best = fmaxf(best, __shfl_xor_sync(~0U, best, 1));
      best = fmaxf(best, __shfl_xor_sync(~0U, best, 2));
      best = fmaxf(best, maximum[r]);  // finite: every row sees token 0, which the first tile has
      factor[r] = exp2_fast((maximum[r] - best) * scale);
      maximum[r] = best;
      const float shift = best * scale;
      float sum = 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& entry = s[4 * i + 2 * r + c];
          entry = exp2_fast(fmaf(entry, scale, -shift));
          sum += entry;
        }
      }
      total[r] = fmaf(total[r], factor[r], sum);
    }
    return make_float2(factor[0], factor[1]);
  }
};

/// Weights as the left operands of 8 products of 16 keys.
__device__ void pack_weights(const float (&s)[64], uint32_t (&p)[8][4]) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(s[2 * i], s[2 * i + 1]);
    p[i / 4][i % 4] = reinterpret_cast<const uint32_t&>(pair);
  }
}

template <int kDim>
__device__ void multiply_keys(float (&s)[64], uint32_t queries, uint32_t keys) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    const uint32_t offset = k / 4 * kSlabBytes + k % 4 * 32;
    wgmma_128(s, operand(queries + offset, 0), operand(keys + offset, 0), k > 0);
  }
}

template <int kDim>
__device__ void multiply_values(float (&o)[kDim / 2], const uint32_t (&p)[8][4], uint32_t values) {
#pragma unroll
  for (int k = 0; k < kTileKeys / 16; ++k) wgmma_rows(o, p[k], operand(values + k * 16 * kLineBytes, kSlabBytes));
}

/// Takes from the scores what the thread's two rows do not see.
__device__ void hide(float (&s)[64], int64_t first_key, const int64_t (&position)[2]) {
  const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int64_t ahead = position[r] - first_key;  // the last visible column; below 0: none
    const int visible = static_cast<int>(ahead < kTileKeys ? ahead : kTileKeys) - column;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        if (8 * i + c > visible) s[4 * i + 2 * r + c] = -INFINITY;
      }
    }
  }
}

template <int kDim>
__device__ void compute(Shared<kDim>& shared, const AttentionArguments<Bf16>& a, const TileRows& rows, int kv_head) {
  const int thread = threadIdx.x;
  const int lane = thread % 32;
  for (int i = thread; i < kRows * (kDim / kChunkDims); i += kComputeThreads) {
    const int row = i / (kDim / kChunkDims);
    const int chunk = i % (kDim / kChunkDims);
    uint4 numbers = make_uint4(0, 0, 0, 0);
    if (row < rows.rows) {
      numbers = *reinterpret_cast<const uint4*>(a.queries + rows.offset(row, a.query_stride, kv_head, kDim) +
                                                chunk * kChunkDims);
    }
    *reinterpret_cast<uint4*>(shared.queries + chunk / 8 * kSlabBytes + swizzled(row, chunk % 8)) = numbers;
  }
  fence_async_proxy();
  asm volatile("bar.sync 1, %0;\n" ::"n"(kComputeThreads) : "memory");

  const int warp_row = thread / 32 * 16;  // of the tile
  const int row = warp_row + lane / 4;
  const int64_t position[2] = {rows.position(row), rows.position(row + 8)};
  const int64_t warp_first = rows.position(warp_row);
  const int64_t last = rows.last_position();
  const int tiles = static_cast<int>(last / kTileKeys) + 1;
  const uint32_t queries = shared_address(shared.queries) + thread / 128 * 64 * kLineBytes;

  float s[64];
  float o[kDim / 2];
  uint32_t p[8][4];
#pragma unroll
  for (float& sum : o) sum = 0;
  Softmax softmax{score_scale(kDim)};
  const auto weigh = [&](int tile) {
    const int64_t first_key = int64_t{tile} * kTileKeys;
    if (first_key + kTileKeys - 1 > warp_first) hide(s, first_key, position);
    return softmax.weigh(s);
  };

  shared.keys_full[0].wait(0);
  wgmma_fence();
  multiply_keys<kDim>(s, queries, shared_address(shared.keys[0]));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_registers(s);
  if (lane == 0) shared.keys_empty[0].arrive();
  weigh(0);
  pack_weights(s, p);

  for (int tile = 1; tile < tiles; ++tile) {
    const int stage = tile % kStages;
    const int value_stage = (tile - 1) % kStages;
    shared.keys_full[stage].wait(tile / kStages % 2);
    wgmma_fence();
    multiply_keys<kDim>(s, queries, shared_address(shared.keys[stage]));
    wgmma_commit();
    shared.values_full[value_stage].wait((tile - 1) / kStages % 2);
    multiply_values<kDim>(o, p, shared_address(shared.values[value_stage]));
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_registers(s);
    if (lane == 0) shared.keys_empty[stage].arrive();
    const float2 factor = weigh(tile);
    wgmma_registers(s);  // the softmax before the wait, not after it
    wgmma_wait<0>();
    wgmma_registers(o);
    if (lane == 0) shared.values_empty[value_stage].arrive();
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) o[i] *= i % 4 < 2 ? factor.x : factor.y;
    pack_weights(s, p);
  }
  shared.values_full[(tiles - 1) % kStages].wait((tiles - 1) / kStages % 2);
  wgmma_fence();
  multiply_values<kDim>(o, p, shared_address(shared.values[(tiles - 1) % kStages]));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_registers(o);

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float total = softmax.total[r];
    total += __shfl_xor_sync(~0U, total, 1);
    total += __shfl_xor_sync(~0U, total, 2);
    if (row + 8 * r >= rows.rows) continue;
    const float inverse = 1.0f / total;
    Bf16* target = a.out + rows.offset(row + 8 * r, a.out_stride, kv_head, kDim) + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      *reinterpret_cast<__nv_bfloat162*>(target + 8 * i) =
          __floats2bfloat162_rn(o[4 * i + 2 * r] * inverse, o[4 * i + 2 * r + 1] * inverse);
    }
  }
}

template <int kDim>
__global__ __launch_bounds__(kThreads, 1) void prefill_kernel(AttentionArguments<Bf16> a) {
  extern __shared__ uint8_t memory[];
  const uint32_t misaligned = shared_address(memory) % 1024;
  auto& shared = *reinterpret_cast<Shared<kDim>*>(memory + (misaligned == 0 ? 0 : 1024 - misaligned));
  const auto n_kv_heads = static_cast<unsigned>(a.shape.n_kv_heads);
  const int kv_head = static_cast<int>(blockIdx.x % n_kv_heads);
  const TileRows rows(a, a.tiles[blockIdx.x / n_kv_heads], kRows);
  if (rows.rows <= 0) return;

  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      shared.keys_full[stage].start(1);
      shared.values_full[stage].start(1);
      shared.keys_empty[stage].start(kComputeWarps);
      shared.values_empty[stage].start(kComputeWarps);
    }
    publish_barriers();
    fence_async_proxy();
  }
  __syncthreads();
  if (threadIdx.x < kComputeThreads) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kComputeRegisters));
    compute<kDim>(shared, a, rows, kv_head);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCopyRegisters));
    if (threadIdx.x < kComputeThreads + 32) {
      bring<kDim>(shared, PageLayout<Bf16>(a.shape), a.sequences.pages[rows.sequence], kv_head,
                  rows.last_position() + 1);
    }
  }
}

template <int kDim>
void launch(cudaStream_t stream, const AttentionArguments<Bf16>& a) {
  constexpr int kBytes = sizeof(Shared<kDim>) + 1024;
  BAMBA_CUDA_CHECK(cudaFuncSetAttribute(prefill_kernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const auto blocks = static_cast<unsigned>(a.n_tiles * a.shape.n_kv_heads);
  prefill_kernel<kDim><<<blocks, kThreads, kBytes, stream>>>(a);
  BAMBA_CUDA_CHECK_LAUNCH();
}

}  // namespace

template <>
bool attention_prefill_runs(const AttentionArguments<float>&) {
  return false;
}
template <>
bool attention_prefill_runs(const AttentionArguments<Bf16>& a) {
  return a.shape.kv == KvFormat::bf16 && (a.shape.head_dim == 64 || a.shape.head_dim == 128) &&
         rows_aligned(a.queries, a.query_stride, kChunkDims) && rows_aligned(a.out, a.out_stride, kChunkDims);
}

template <>
void attention_prefill(cudaStream_t stream, const AttentionArguments<Bf16>& a) {
  if (a.n_tiles == 0) return;
  if (a.shape.head_dim == 64) {
    launch<64>(stream, a);
  } else {
    launch<128>(stream, a);
  }
}

}  // namespace bamba::backend::cuda
