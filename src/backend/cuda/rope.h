// Rotary position embedding of queries and keys, and the appending of keys and values to their pages, in one launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/kv_pages.h"

namespace bamba::backend::cuda {

/// The first rotary_dim entries of every head of q and k turn in pairs (j, j + rotary_dim / 2):
/// (a, b) -> (a cos - b sin, b cos + a sin), in f32, rounded once to where the result goes.
template <typename Element>
struct RopeArguments {
  Element* queries;  ///< rows [n_heads * head_dim], turned in place; null: none
  int64_t query_stride;
  Element* keys;  ///< rows [n_kv_heads * head_dim]
  int64_t key_stride;
  const Element* values;  ///< as keys; read where pages are given
  int64_t value_stride;
  int64_t rows;
  AttentionShape shape;  ///< rotary_dim 0: nothing turns
  /// Rows of rotary_dim/2 cosines, then rotary_dim/2 sines; row r of the pass has table row r, or with by_position
  /// the row of its token's position.
  const float* cos_sin;
  bool by_position;
  /// Device, [rows]: the row's sequence; rows with a negative one are left alone. Null: all rows belong to sequence 0
  /// when pages are given or by_position holds; otherwise not needed.
  const int32_t* row_sequence;
  /// With page tables, turned keys and the values go to the pages (rounded to nearest even where they are bf16) and the
  /// rows of k stay as they were. Without (sequences.pages null), the keys are turned in place.
  PagedSequences sequences;
};

/// Element: float or __nv_bfloat16. A row's result depends on this row only. No allocation, no waiting; positions and
/// page tables are read from device memory, so that a captured launch can be replayed.
template <typename Element>
void rope(cudaStream_t stream, const RopeArguments<Element>& arguments);

/// Keys and values of new tokens to the pages, unturned.
template <typename Element>
void kv_append(cudaStream_t stream, RopeArguments<Element> arguments) {
  arguments.queries = nullptr;
  arguments.shape.rotary_dim = 0;
  rope(stream, arguments);
}

}  // namespace bamba::backend::cuda
