// The end of a skinny product's tile: sums of warps, then of blocks, to results.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/bulk_copy.cuh"
#include "backend/cuda/shared_sums.cuh"
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

__device__ inline float4 sum_of(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/// Where the sums of the warps that share outputs meet: kGroups of kWarpsOut warps side by side, for kRoom rows. Those
/// who end rows wait for all, the others go on. A block's tiles are told by their number, its turn.
template <int kGroups, int kRoom>
class Meeting {
 public:
  static constexpr int kBytes = kGroups * kRoom * kPadded * 4 + 2 * static_cast<int>(sizeof(CopyBarrier));

  __device__ explicit Meeting(unsigned char* memory)
      : written_(reinterpret_cast<CopyBarrier*>(memory)),
        read_(written_ + 1),
        sums_(reinterpret_cast<float*>(memory + 2 * sizeof(CopyBarrier))) {}
  /// By one thread, before others use it.
  __device__ void start(int readers) const {
    written_->start(kGroups * kWarpsOut);
    read_->start(readers);
  }
  /// A warp's sums.
  template <int kColumnTiles>
  __device__ void write(int turn, Sums<kColumnTiles>& own) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    float* const to = sums_ + warp / kWarpsOut * (kRoom * kPadded) + warp % kWarpsOut * 32;
    read_->wait((turn & 1) ^ 1);
    own.each(lane, [&](float v, int output, int row) {
      if (row < kRoom) to[row * kPadded + output] = v;
    });
    __syncwarp();
    if (lane == 0) written_->arrive();
  }
  /// Until all have written.
  __device__ void wait(int turn) const { written_->wait(turn & 1); }
  /// The block's sums of four outputs.
  __device__ float4 at(int row, int output) const {
    float4 total = part(0, row, output);
#pragma unroll
    for (int g = 1; g < kGroups; ++g) total = sum_of(total, part(g, row, output));
    return total;
  }
  /// By each warp that waited, when it has read what it needs.
  __device__ void leave() const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) read_->arrive();
  }

 private:
  __device__ float4 part(int group, int row, int output) const {
    return *reinterpret_cast<const float4*>(sums_ + (group * kRoom + row) * kPadded + output);
  }

  CopyBarrier* written_;
  CopyBarrier* read_;
  float* sums_;  // [kGroups][kRoom][kPadded]
};

/// A warp that ends tiles: rows `index`, index + kCount, ... of kMaxRows, 128 outputs of a row at a time.
template <int kMaxRows, int kCount, SkinnyEnd kEnd, class Meets>
class Finisher {
  static constexpr int kRows = (kMaxRows + kCount - 1) / kCount;
  // Rows whose memory is read together.
  static constexpr int kAtOnce = kRows < 2 ? kRows : kMaxRows > 16 ? 4 : 2;

 public:
  __device__ Finisher(const SkinnyParams& params, const Meets& meeting, int index)
      : p_(params), meeting_(meeting), shared_(params.partials), index_(index) {}

  __device__ bool has_rows() const { return index_ < p_.rows; }
  /// Once the kernels before this one have ended.
  __device__ void load_factors() {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = index_ + i * kCount;
      factors_[i] = row < p_.rows ? input_factor(p_, row) : 1.0f;
    }
  }
  /// The block's tile number `turn`: its sums of all warps -> results, or to the block that began the tile. What is
  /// read from memory comes while the tile is still computed.
  __device__ void end_tile(int tile, int turn) const {
    const int column = static_cast<int>(threadIdx.x) % 32 * 4;
    const auto block = static_cast<int>(blockIdx.x);
    if (block * p_.plan.per_block > tile * p_.plan.chunks) {
      meeting_.wait(turn);
      for (int row = index_; row < p_.rows; row += kCount) shared_.send(row, column, meeting_.at(row, column));
    } else {
      const TileEnd<kEnd> end(p_, tile, column);
#pragma unroll
      for (int first = 0; first < kRows; first += kAtOnce) {
        if (index_ + first * kCount < p_.rows) end_rows(end, tile, turn, column, first);
      }
    }
    meeting_.leave();
  }

 private:
  __device__ void end_rows(const TileEnd<kEnd>& end, int tile, int turn, int column, int first) const {
    typename TileEnd<kEnd>::Before before[kAtOnce];
    float4 totals[kAtOnce];
    const auto for_each_row = [&](auto function) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int row = index_ + (first + i) * kCount;
        if (row < p_.rows) function(i, row);
      }
    };
    for_each_row([&](int i, int row) { before[i] = end.before(row); });
    add_up_others(tile, column, first, totals);
    meeting_.wait(turn);
    for_each_row([&](int i, int row) {
      end.store(row, sum_of(meeting_.at(row, column), totals[i]), factors_[first + i], before[i]);
    });
  }
  /// The sums of the tile's other blocks.
  __device__ void add_up_others(int tile, int column, int first, float4 (&totals)[kAtOnce]) const {
    constexpr int kBlocks = kAtOnce > 1 ? 2 : 4;  // together
    for (float4& total : totals) total = make_float4(0, 0, 0, 0);
    const int block = static_cast<int>(blockIdx.x);
    const int last = (tile * p_.plan.chunks + p_.plan.chunks - 1) / p_.plan.per_block;
#pragma unroll 1
    for (int b = block + 1; b <= last; b += kBlocks) {
      float4 shares[kBlocks][kAtOnce];
      const auto for_each = [&](auto function) {
#pragma unroll
        for (int k = 0; k < kBlocks; ++k) {
#pragma unroll
          for (int i = 0; i < kAtOnce; ++i) {
            const int row = index_ + (first + i) * kCount;
            if (b + k <= last && row < p_.rows) function(b + k, row, shares[k][i], totals[i]);
          }
        }
      };
      for_each([&](int other, int row, float4& share, float4&) { share = shared_.peek(other, row, column); });
      for_each([&](int other, int row, float4& share, float4& total) {
        shared_.take(other, row, column, share);
        total = sum_of(total, share);
      });
    }
  }

  const SkinnyParams& p_;
  const Meets& meeting_;
  SharedSums<kMaxRows> shared_;
  int index_;
  float factors_[kRows];
};

}  // namespace bamba::backend::cuda::skinny
