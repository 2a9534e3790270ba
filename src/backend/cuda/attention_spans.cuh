// Device code: what the kernels of attention_spans hand to the one that merges.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/attention.h"

namespace bamba::backend::cuda {

/// Of every tile of a launch, KV head, span and row: the sums of the span, [head_dim] weighted values with the weights
/// 2^(score scaled - maximum), and {maximum, total of the weights}.
struct SpanSums {
  float* outputs;
  float2* softmaxes;
  int n_kv_heads;
  int spans;  ///< of the longest sequence
  int tile_rows;
  int head_dim;

  static size_t bytes(const AttentionShape& shape, int64_t tiles, int64_t tile_rows, int64_t spans) {
    const int64_t rows = tiles * shape.n_kv_heads * spans * tile_rows;
    const int64_t floats = (rows * shape.head_dim + 3) / 4 * 4;  // the pairs behind stay aligned
    return static_cast<size_t>(floats + 2 * rows) * sizeof(float);
  }
  SpanSums(void* workspace, const AttentionShape& shape, int64_t tiles, int64_t rows, int64_t spans_)
      : outputs(static_cast<float*>(workspace)),
        softmaxes(reinterpret_cast<float2*>(outputs +
                                            (tiles * shape.n_kv_heads * spans_ * rows * shape.head_dim + 3) / 4 * 4)),
        n_kv_heads(static_cast<int>(shape.n_kv_heads)),
        spans(static_cast<int>(spans_)),
        tile_rows(static_cast<int>(rows)),
        head_dim(static_cast<int>(shape.head_dim)) {}

  /// The next row's is index + 1, the next span's index + tile_rows.
  __device__ int64_t index(int tile, int kv_head, int span, int row) const {
    return ((int64_t{tile} * n_kv_heads + kv_head) * spans + span) * tile_rows + row;
  }
};

/// Whether the tensor cores' kernel takes the shape, for bf16 activations.
inline bool spans_on_tensor_cores(const AttentionShape& shape) {
  return shape.kv == KvFormat::bf16 && (shape.head_dim == 64 || shape.head_dim == 128);
}
inline constexpr int64_t kMmaTileRows = 8;
inline constexpr int64_t kGeneralTileRows = 16;

/// Sums of all spans of the tiles; sums of spans past a tile's last position are left unwritten.
void launch_spans_mma(cudaStream_t stream, const AttentionArguments<__nv_bfloat16>& arguments, const SpanSums& sums);
template <typename Element>
void launch_spans_general(cudaStream_t stream, const AttentionArguments<Element>& arguments, const SpanSums& sums);

}  // namespace bamba::backend::cuda
