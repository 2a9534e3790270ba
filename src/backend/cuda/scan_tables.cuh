// What the chunked scan's main kernel finds ready: of every block of 64 tokens the time steps, their running sums, and
// the scores C_i . B_j that all heads of a group share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/scan.h"
#include "backend/cuda/scan_elements.cuh"

namespace bamba::backend::cuda {

/// Tokens of a block.
inline constexpr int kBlockTokens = 64;
/// Blocks of all sequences are numbered so. A sequence that starts between multiples of 64 has a shorter first block.
inline constexpr TileNumbering kBlockNumbering{kBlockTokens, 2};
__device__ __forceinline__ int64_t first_block(const SequenceRows& rows, int64_t sequence) {
  constexpr TileNumbering numbering = kBlockNumbering;
  return numbering.base(rows, sequence);
}

/// Rows [first, first + count) of the pass; count <= 0: the sequence has no such block.
struct BlockRows {
  int64_t first;
  int count;
};
__device__ __forceinline__ BlockRows block_rows(const SequenceRows& rows, int64_t index) {
  const int64_t to_boundary = kBlockTokens - rows.start % kBlockTokens;
  const int64_t begin = index == 0 ? 0 : to_boundary + (index - 1) * kBlockTokens;
  const int64_t end = to_boundary + index * kBlockTokens;
  return {rows.first + begin, static_cast<int>((end < rows.count ? end : rows.count) - begin)};
}
__device__ __forceinline__ int64_t block_count(const SequenceRows& rows) {
  return (rows.start % kBlockTokens + rows.count + kBlockTokens - 1) / kBlockTokens;
}

/// Scores are kept as the m16n8 results they were: tile (w, t) has rows [16 w, 16 w + 16) and columns [8 t, 8 t + 8),
/// one float4 a lane. Only tiles that reach the diagonal's lower side, t < 2 (w + 1), exist.
inline constexpr int kScoreTiles = 20;
__device__ __forceinline__ int score_tile(int w, int t) {
  return w * (w + 1) + t;
}

/// Rows of a block beyond its count have Delta 0 and the last row's sum.
struct ScanTables {
  float* delta;    ///< [blocks, n_heads, 64]
  float* sums;     ///< [blocks, n_heads, 64], running sums of Delta a log2(e) from the block's first token on
  float4* scores;  ///< [blocks, n_groups, kScoreTiles, 32]
  int64_t n_heads;
  int64_t n_groups;

  static size_t bytes(const ScanShape& shape, int64_t blocks) {
    return static_cast<size_t>(blocks) * (static_cast<size_t>(shape.n_heads) * 2 * kBlockTokens * sizeof(float) +
                                          static_cast<size_t>(shape.n_groups) * kScoreTiles * 32 * sizeof(float4));
  }
  ScanTables(const ScanShape& shape, int64_t blocks, void* memory)
      : delta(static_cast<float*>(memory)),
        sums(delta + blocks * shape.n_heads * kBlockTokens),
        scores(reinterpret_cast<float4*>(sums + blocks * shape.n_heads * kBlockTokens)),
        n_heads(shape.n_heads),
        n_groups(shape.n_groups) {}

  __device__ __forceinline__ int64_t head_at(int64_t block, int64_t head) const {
    return (block * n_heads + head) * kBlockTokens;
  }
  __device__ __forceinline__ float4* scores_of(int64_t block, int64_t group) const {
    return scores + (block * n_groups + group) * kScoreTiles * 32;
  }
};

/// Fills the tables of all blocks. shape.d_state is 64 or 128; B and C are aligned to 16 bytes in every row.
void fill_scan_tables(cudaStream_t stream, const ScanArguments<__nv_bfloat16>& arguments, const ScanTables& tables);

}  // namespace bamba::backend::cuda
