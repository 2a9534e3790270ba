// The end of a skinny product's tile: sums of warps, then of blocks, to results.
#pragma once

#include <cuda_bf16.h>

#include <cuda/atomic>

#include "backend/cuda/skinny_ends.cuh"
#include "backend/cuda/skinny_mma.h"

namespace bamba::backend::cuda::skinny {

constexpr int kWarpsOut = 4;
constexpr int kWarpsK = kSkinnyWarps / kWarpsOut;
constexpr int kPadded = kSkinnyTile + 8;  // keeps fragments in different banks

/// The row, of eight, that a fragment's index stands for: g with its three bits in the other order.
__device__ constexpr int row_of(int g) {
  return (g & 1) << 2 | (g & 2) | g >> 2;
}

/// All warps that multiply.
__device__ inline void meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kWarpsOut * kWarpsK * 32) : "memory");
}

/// Sums of a warp: [outputs 16 m + row_of(g) (+ 8)][rows 8 n + row_of(2 t (+ 1))] as mma leaves them.
template <int kColumnTiles>
struct Sums {
  float value[2][kColumnTiles][4];

  __device__ void clear() {
    for (auto& m : value) {
      for (auto& n : m) {
        for (float& v : n) v = 0;
      }
    }
  }
  /// function(value, output in warp, row) for each of the thread's sums.
  template <typename Function>
  __device__ void each(int lane, Function function) {
    const int output = row_of(lane / 4);
    const int t = lane % 4;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          function(value[m][n][j], 16 * m + output + (j & 2) * 4, 8 * n + row_of(2 * t + (j & 1)));
        }
      }
    }
  }
};

/// Where the sums of the warps that share outputs meet.
template <int kMaxRows>
struct Meeting {
  static constexpr int kBytes = kMaxRows * kPadded * 4;

  /// The block's sums: [row][output]. is_first: nobody reads those of a tile before.
  template <int kColumnTiles>
  static __device__ void gather(float* meeting, bool is_first, Sums<kColumnTiles>& sums) {
    static_assert(kWarpsK == 2);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % 32;
    const int warp_out = thread / 32 % kWarpsOut;
    const int warp_k = thread / 32 / kWarpsOut;
    const auto place = [&](int output, int row) -> float& { return meeting[row * kPadded + warp_out * 32 + output]; };
    if (!is_first) meet();
    if (warp_k == 1) sums.each(lane, [&](float v, int o, int row) { place(o, row) = v; });
    meet();
    // Each thread writes where it alone has read.
    if (warp_k == 0) sums.each(lane, [&](float v, int o, int row) { place(o, row) += v; });
    meet();
  }
  static __device__ float4 at(const float* meeting, int row, int output) {
    return *reinterpret_cast<const float4*>(meeting + row * kPadded + output);
  }
};

/// Each warp ends rows of its own: row w, w + kRowsAtOnce, ... of warp w.
constexpr int kRowsAtOnce = kSkinnyWarps;
template <int kColumnTiles>
constexpr int kFinishRounds = (8 * kColumnTiles + kRowsAtOnce - 1) / kRowsAtOnce;

/// input_factor() of the rows that the warp ends.
template <int kColumnTiles>
struct RowFactors {
  float value[kFinishRounds<kColumnTiles>];

  __device__ void load(const SkinnyParams& p) {
#pragma unroll
    for (int i = 0; i < kFinishRounds<kColumnTiles>; ++i) {
      const int row = static_cast<int>(threadIdx.x) / 32 + i * kRowsAtOnce;
      value[i] = kColumnTiles == 1 && row < p.rows ? input_factor(p, row) : 1.0f;
    }
  }
};

/// The tile's sums of all warps -> results, or partial sums where other blocks have a part in the tile's inputs. A warp
/// takes a row's 128 outputs at a time, those without a row go on at once. Everything that a thread reads from memory
/// is under way together: the ring of stages covers one wait, not one for each row.
template <int kColumnTiles, SkinnyEnd kEnd>
__device__ inline void finish_tile(const SkinnyParams& p, int tile, bool is_first, float* meeting,
                                   const RowFactors<kColumnTiles>& factors, Sums<kColumnTiles>& sums) {
  constexpr int kMaxRows = 8 * kColumnTiles;
  constexpr int kRounds = kFinishRounds<kColumnTiles>;
  using Meets = Meeting<kMaxRows>;
  using End = TileEnd<kEnd>;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp >= p.rows) {
    Meets::gather(meeting, is_first, sums);
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int column = lane * 4;
  const End end(p, tile, column);
  const auto for_each_row = [&](auto function) {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      const int row = warp + i * kRowsAtOnce;
      if (row < p.rows) function(i, row);
    }
  };
  typename End::Before before[kRounds];
  for_each_row([&](int i, int row) { before[i] = end.before(row); });
  Meets::gather(meeting, is_first, sums);

  const int per_block = p.plan.per_block;
  const int chunks = p.plan.chunks;
  const int first_block = tile * chunks / per_block;
  const int last_block = (tile * chunks + chunks - 1) / per_block;
  if (first_block == last_block) {
    for_each_row([&](int i, int row) { end.store(row, Meets::at(meeting, row, column), factors.value[i], before[i]); });
    return;
  }

  constexpr int kSlot = kMaxRows * kSkinnyTile;
  // A block's first tile and its last: tiles between them are its own.
  const auto slot = [&](int b, int row) {
    const int which = 2 * b + (b * per_block / chunks != tile ? 1 : 0);
    return reinterpret_cast<float4*>(p.partials + which * kSlot + row * kSkinnyTile + column);
  };
  for_each_row([&](int, int row) { *slot(static_cast<int>(blockIdx.x), row) = Meets::at(meeting, row, column); });
  __syncwarp();
  int is_last = 0;
  if (lane == 0) {
    // The first block of a shared tile is first of no other, so it names the counters, one for each warp's rows. What
    // the warp's lanes wrote before they met is there for whoever counts after it.
    const ::cuda::atomic_ref<int, ::cuda::thread_scope_device> counter(p.counters[first_block * kRowsAtOnce + warp]);
    is_last = counter.fetch_add(1, ::cuda::memory_order_acq_rel) == last_block - first_block;
    if (is_last) counter.store(0, ::cuda::memory_order_relaxed);
  }
  if (!__shfl_sync(0xFFFFFFFFU, is_last, 0)) return;
  __syncwarp();
  constexpr int kAtOnce = kRounds == 1 ? 4 : kRounds == 2 ? 3 : 2;  // blocks
  float4 totals[kRounds] = {};
#pragma unroll 1
  for (int b = first_block; b <= last_block; b += kAtOnce) {
    float4 shares[kAtOnce][kRounds];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      for_each_row([&](int i, int row) {
        shares[k][i] = b + k <= last_block ? __ldcg(slot(b + k, row)) : make_float4(0, 0, 0, 0);
      });
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      for_each_row([&](int i, int) {
        float4& total = totals[i];
        const float4& share = shares[k][i];
        total = make_float4(total.x + share.x, total.y + share.y, total.z + share.z, total.w + share.w);
      });
    }
  }
  for_each_row([&](int i, int row) { end.store(row, totals[i], factors.value[i], before[i]); });
}

}  // namespace bamba::backend::cuda::skinny
