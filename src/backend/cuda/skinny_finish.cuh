// The end of a skinny product's tile: sums of warps, then of blocks, to results.
#pragma once

#include <cuda_bf16.h>

#include <cuda/atomic>

#include "backend/cuda/skinny_mma.h"

namespace bamba::backend::cuda::skinny {

constexpr int kWarpsOut = 4;
constexpr int kWarpsK = 2;
constexpr int kPadded = kSkinnyTile + 8;  // keeps fragments in different banks

/// The row, of eight, that a fragment's index stands for: g with its three bits in the other order.
__device__ constexpr int row_of(int g) {
  return (g & 1) << 2 | (g & 2) | g >> 2;
}

/// All warps that multiply.
__device__ inline void meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kWarpsOut * kWarpsK * 32) : "memory");
}

/// The product that a tile of the launch belongs to.
__device__ inline const SkinnyPart& part_of(const SkinnyParams& p, int tile) {
  int part = 0;
#pragma unroll
  for (int i = 1; i < kSkinnyProducts; ++i) {
    if (i < p.n_parts && tile >= p.parts[i].first_tile) part = i;
  }
  return p.parts[part];
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

  /// The block's sums: [row][output].
  template <int kColumnTiles>
  static __device__ void gather(float* meeting, Sums<kColumnTiles>& sums) {
    static_assert(kWarpsK == 2);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % 32;
    const int warp_out = thread / 32 % kWarpsOut;
    const int warp_k = thread / 32 / kWarpsOut;
    const auto place = [&](int output, int row) -> float& { return meeting[row * kPadded + warp_out * 32 + output]; };
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

/// Four outputs in a row of one part: what they are multiplied by and added to, fetched before it is needed.
struct FourOutputs {
  const SkinnyPart& part;
  int output;  // of the part
  int count;   // 4, or what is left up to the last output
  float scale[4];
  float bias[4];

  __device__ FourOutputs(const SkinnyPart& part_, int output_)
      : part(part_), output(output_), count(min(4, part_.outputs - output_)) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scale[i] = part.row_scales != nullptr && i < count ? part.row_scales[output + i] : 1.0f;
      bias[i] = part.bias != nullptr && i < count ? part.bias[output + i] : 0.0f;
    }
  }

  /// What a row holds; zeros where nothing is accumulated.
  __device__ float4 before(int row) const {
    float v[4] = {};
    if (part.accumulate) {
      const int64_t at = row * part.out_stride + output;
      if (part.out_is_bf16) {
        const auto* out = static_cast<const __nv_bfloat16*>(part.out) + at;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (i < count) v[i] = __bfloat162float(out[i]);
        }
      } else {
        const auto* out = static_cast<const float*>(part.out) + at;
        if (part.fours && count == 4) return *reinterpret_cast<const float4*>(out);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (i < count) v[i] = out[i];
        }
      }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
  }

  __device__ void store(int row, const float4& sum, const float4& before) const {
    float v[4] = {sum.x, sum.y, sum.z, sum.w};
    const float more[4] = {before.x, before.y, before.z, before.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // Not fused with the addition behind it, whatever the compiler makes of another number of rows.
      v[i] = __fmul_rn(v[i], scale[i]);
      if (part.bias != nullptr) v[i] += bias[i];
      if (part.accumulate) v[i] += more[i];
    }
    const int64_t at = row * part.out_stride + output;
    if (part.out_is_bf16) {
      auto* out = static_cast<__nv_bfloat16*>(part.out) + at;
      if (part.fours && count == 4) {
        const __nv_bfloat162 low = __floats2bfloat162_rn(v[0], v[1]);
        const __nv_bfloat162 high = __floats2bfloat162_rn(v[2], v[3]);
        *reinterpret_cast<uint2*>(out) =
            make_uint2(*reinterpret_cast<const uint32_t*>(&low), *reinterpret_cast<const uint32_t*>(&high));
        return;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) out[i] = __float2bfloat16_rn(v[i]);
      }
    } else {
      auto* out = static_cast<float*>(part.out) + at;
      if (part.fours && count == 4) {
        *reinterpret_cast<float4*>(out) = make_float4(v[0], v[1], v[2], v[3]);
        return;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) out[i] = v[i];
      }
    }
  }
};

/// The tile's sums of all warps -> results, or partial sums where other blocks have a part in the tile's inputs. A warp
/// takes a row's 128 outputs at a time. Everything that a thread reads from memory is under way together: the ring of
/// stages covers one wait, not one for each row.
template <int kColumnTiles>
__device__ inline void finish_tile(const SkinnyParams& p, int tile, float* meeting, bool* is_last,
                                   Sums<kColumnTiles>& sums) {
  constexpr int kMaxRows = 8 * kColumnTiles;
  constexpr int kRowsAtOnce = kWarpsOut * kWarpsK;
  constexpr int kRounds = (kMaxRows + kRowsAtOnce - 1) / kRowsAtOnce;
  using Meets = Meeting<kMaxRows>;
  const SkinnyPart& part = part_of(p, tile);
  const int thread = static_cast<int>(threadIdx.x);
  const int column = thread % 32 * 4;
  const int first_row = thread / 32;
  const FourOutputs four(part, (tile - part.first_tile) * kSkinnyTile + column);
  const auto for_each_row = [&](auto function) {
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      const int row = first_row + i * kRowsAtOnce;
      if (row < p.rows) function(i, row);
    }
  };
  float4 before[kRounds];
  for_each_row([&](int i, int row) { before[i] = four.before(row); });
  Meets::gather(meeting, sums);

  const int per_block = p.plan.per_block;
  const int chunks = p.plan.chunks;
  const int first_block = tile * chunks / per_block;
  const int last_block = (tile * chunks + chunks - 1) / per_block;
  if (first_block == last_block) {
    for_each_row([&](int i, int row) { four.store(row, Meets::at(meeting, row, column), before[i]); });
    return;
  }

  constexpr int kSlot = kMaxRows * kSkinnyTile;
  // A block's first tile and its last: tiles between them are its own.
  const auto slot = [&](int b, int row) {
    const int which = 2 * b + (b * per_block / chunks != tile ? 1 : 0);
    return reinterpret_cast<float4*>(p.partials + which * kSlot + row * kSkinnyTile + column);
  };
  for_each_row([&](int, int row) { *slot(static_cast<int>(blockIdx.x), row) = Meets::at(meeting, row, column); });
  meet();
  if (thread == 0) {
    // The first block of a shared tile is first of no other, so it names the counter. What the block's threads wrote
    // before they met is there for whoever counts after it.
    const ::cuda::atomic_ref<int, ::cuda::thread_scope_device> counter(p.counters[first_block]);
    *is_last = counter.fetch_add(1, ::cuda::memory_order_acq_rel) == last_block - first_block;
    if (*is_last) counter.store(0, ::cuda::memory_order_relaxed);
  }
  meet();
  if (!*is_last) return;
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
  for_each_row([&](int i, int row) { four.store(row, totals[i], before[i]); });
}

}  // namespace bamba::backend::cuda::skinny
