// Device code: which tokens the query rows of a tile are and see.
#pragma once

#include <cstdint>

#include "backend/cuda/attention.h"

namespace bamba::backend::cuda {

/// The query rows of one tile and KV head.
struct TileRows {
  int64_t first;  ///< row of the pass of the sequence's first new token
  int64_t start;  ///< its position
  int first_row;
  int rows;  ///< rows the tile really has; 0 or less: an empty tile
  int group;
  int sequence;

  template <typename Element>
  __device__ TileRows(const AttentionArguments<Element>& a, const AttentionTile& tile, int tile_rows)
      : first(0), start(0), first_row(tile.first_row), rows(0), group(0), sequence(tile.sequence) {
    if (sequence < 0) return;
    const SequenceRows own = a.sequences.sequences[sequence];
    group = static_cast<int>(a.shape.n_heads / a.shape.n_kv_heads);
    first = own.first;
    start = own.start;
    const int64_t left = own.count * group - first_row;
    rows = static_cast<int>(left < tile_rows ? left : tile_rows);
  }

  /// Position of a row's token; rows the tile has not stand where its last one does.
  __device__ int64_t position(int row) const { return start + (first_row + (row < rows ? row : rows - 1)) / group; }
  __device__ int64_t last_position() const { return position(rows - 1); }
  /// Where a row's vector begins in a matrix of rows [n_heads * head_dim].
  __device__ int64_t offset(int row, int64_t stride, int kv_head, int head_dim) const {
    const int index = first_row + row;
    return (first + index / group) * stride + (int64_t{kv_head} * group + index % group) * head_dim;
  }
};

/// 2^x, 0 for -infinity, 2 units of f32 off at most.
__device__ inline float exp2_fast(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

/// Scores times this are exponents of 2.
__device__ inline float score_scale(int head_dim) {
  return 1.44269504088896341f / sqrtf(static_cast<float>(head_dim));
}

}  // namespace bamba::backend::cuda
