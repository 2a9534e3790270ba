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
///
/// That sums are written, and may be read, warps tell each other at one of the hardware's numbered barriers; that they
/// have been read, and may be written over, at an mbarrier. (Either would do for both. Tools that look for races take
/// an mbarrier at which one lane arrives for its warp for that lane's writes alone, and lose track of reads in front of
/// numbered barriers where some arrive without waiting.)
template <int kGroups, int kRoom>
class Meeting {
 public:
  static constexpr int kSumBytes = kGroups * kRoom * kPadded * 4;
  static constexpr int kBytes = kSumBytes + static_cast<int>(sizeof(CopyBarrier));
  /// Up to two rows have a warp each that ends tiles while the others go on; of more, warps that write do it.
  static constexpr bool kApart = kRoom <= 2;

  /// readers: warps that end rows.
  __device__ Meeting(unsigned char* memory, int readers)
      : sums_(reinterpret_cast<float*>(memory)),
        read_(reinterpret_cast<CopyBarrier*>(memory + kSumBytes)),
        readers_(readers),
        threads_((kGroups * kWarpsOut + (kApart ? readers : 0)) * 32) {}
  /// By one thread, before others use it; publish_barriers() comes behind.
  __device__ void start() const { read_->start(readers_ * 32); }

  /// A warp's sums.
  template <int kColumnTiles>
  __device__ void write(int turn, Sums<kColumnTiles>& own) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    float* const to = sums_ + warp / kWarpsOut * (kRoom * kPadded) + warp % kWarpsOut * 32;
    if (turn > 0) {
      if (!kApart && warp < readers_) read_->arrive();
      read_->wait((turn - 1) & 1);
    }
    own.each(lane, [&](float v, int output, int row) {
      if (row < kRoom) to[row * kPadded + output] = v;
    });
    if constexpr (kApart) pass();
  }
  /// By each warp that ends rows of a tile, before anything else of it: the sums before have been read.
  __device__ void enter(int turn) const {
    if (kApart && turn > 0) read_->arrive();
  }
  /// Until all have written; once a tile, by each warp that ends rows of it.
  __device__ void wait() const { asm volatile("barrier.cta.sync %0, %1;" ::"r"(kWritten), "r"(threads_) : "memory"); }
  /// Instead, by each that does not read.
  __device__ void pass() const { asm volatile("barrier.cta.arrive %0, %1;" ::"r"(kWritten), "r"(threads_) : "memory"); }
  /// The block's sums of four outputs.
  __device__ float4 at(int row, int output) const {
    float4 total = part(0, row, output);
#pragma unroll
    for (int g = 1; g < kGroups; ++g) total = sum_of(total, part(g, row, output));
    return total;
  }

 private:
  __device__ float4 part(int group, int row, int output) const {
    return *reinterpret_cast<const float4*>(sums_ + (group * kRoom + row) * kPadded + output);
  }

  static constexpr int kWritten = 1;  // the numbered barrier; 0 is the whole block's

  float* sums_;  // [kGroups][kRoom][kPadded]
  CopyBarrier* read_;
  int readers_;  // warps, the first ones where they write as well
  int threads_;  // at the numbered barrier
};

/// A warp that ends tiles: rows `index`, index + kCount, ... of kMaxRows, 128 outputs of a row at a time.
template <int kMaxRows, int kCount, SkinnyEnd kEnd, class Meets>
class Finisher {
  static constexpr int kRows = (kMaxRows + kCount - 1) / kCount;

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
    meeting_.enter(turn);
    if (block * p_.plan.per_block > tile * p_.plan.chunks) {
      meeting_.wait();
      for (int row = index_; row < p_.rows; row += kCount) shared_.send(row, column, meeting_.at(row, column));
    } else {
      end_rows(TileEnd<kEnd>(p_, tile, column), tile, column);
    }
  }

 private:
  __device__ void end_rows(const TileEnd<kEnd>& end, int tile, int column) const {
    typename TileEnd<kEnd>::Before before[kRows];
    float4 totals[kRows];
    const auto for_each_row = [&](auto function) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int row = index_ + i * kCount;
        if (row < p_.rows) function(i, row);
      }
    };
    for_each_row([&](int i, int row) { before[i] = end.before(row); });
    add_up_others(tile, column, totals);
    meeting_.wait();
    for_each_row(
        [&](int i, int row) { end.store(row, sum_of(meeting_.at(row, column), totals[i]), factors_[i], before[i]); });
  }
  /// The sums of the tile's other blocks.
  __device__ void add_up_others(int tile, int column, float4 (&totals)[kRows]) const {
    constexpr int kBlocks = kRows > 1 ? 2 : 4;  // together
    for (float4& total : totals) total = make_float4(0, 0, 0, 0);
    const int block = static_cast<int>(blockIdx.x);
    const int last = (tile * p_.plan.chunks + p_.plan.chunks - 1) / p_.plan.per_block;
#pragma unroll 1
    for (int b = block + 1; b <= last; b += kBlocks) {
      float4 shares[kBlocks][kRows];
      const auto for_each = [&](auto function) {
#pragma unroll
        for (int k = 0; k < kBlocks; ++k) {
#pragma unroll
          for (int i = 0; i < kRows; ++i) {
            const int row = index_ + i * kCount;
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
