// Causal attention of new tokens over paged keys and values: softmax in f32 of q.k / sqrt(head_dim), head h reading KV
// head h / (n_heads / n_kv_heads).
//
// Queries are dealt in tiles. The query rows of a sequence are numbered token * (n_heads / n_kv_heads) + head within
// the KV head's group, so that all heads which read the same keys are together; a tile is kTileRows (or fewer) of them
// in a row, for each KV head. The list of tiles is a device array, so a launch can be captured and replayed: starts,
// counts and page tables are read from device memory.
//
// Two ways to compute the same:
//  * attention_prefill: 128 query rows a tile, keys 128 at a time from position 0 on, wgmma. Only for bf16 activations
//    over bf16 pages and head_dim 64 or 128 (attention_prefill_runs tells).
//  * attention_spans: a block for each tile and each span of 256 keys, then the spans of a row are merged. For few new
//    tokens (decoding), and the general path for every shape and format.
// Both give a row the same bits whatever else is in the pass, however the prompt was cut, in every run: keys are taken
// in tiles that stand at fixed positions of the sequence, and what a row does not see changes none of its sums. The two
// differ from each other in the last bits; who wants a prompt's tokens to come out as if decoded one by one gives all
// of them to attention_spans.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/kv_pages.h"

namespace bamba::backend::cuda {

/// Query rows [first_row, first_row + tile rows) of a sequence, as far as it has them; sequence < 0: an empty tile.
struct AttentionTile {
  int32_t sequence;
  int32_t first_row;
};

template <typename Element>
struct AttentionArguments {
  const Element* queries;  ///< rows [n_heads * head_dim], already turned
  int64_t query_stride;
  Element* out;  ///< rows as the queries'
  int64_t out_stride;
  AttentionShape shape;
  PagedSequences sequences;
  const AttentionTile* tiles;  ///< device
  int64_t n_tiles;
};

inline constexpr int64_t kPrefillTileRows = 128;
inline constexpr int64_t kSpanTokens = 256;

/// Host: the tiles of sequences with these counts, those with the most keys to read first so that none is left for the
/// end. tile_rows: kPrefillTileRows or span_tile_rows().
std::vector<AttentionTile> attention_tiles(std::span<const SequenceRows> sequences, const AttentionShape& shape,
                                           int64_t tile_rows);

/// Whether attention_prefill takes these arguments: element and pages bf16, head_dim 64 or 128, queries and out aligned
/// to 16 bytes with strides of a multiple of 8.
template <typename Element>
bool attention_prefill_runs(const AttentionArguments<Element>& arguments);
/// Tiles of kPrefillTileRows.
template <typename Element>
void attention_prefill(cudaStream_t stream, const AttentionArguments<Element>& arguments);

/// Rows of a tile for attention_spans when no sequence has more than max_count new tokens.
template <typename Element>
int64_t span_tile_rows(const AttentionShape& shape, int64_t max_count);

/// Memory for attention_spans to work on `tiles` tiles at a time, with no sequence longer than max_tokens (new tokens
/// included). With less than all tiles at a time the call launches several kernels after each other; the results are
/// the same.
template <typename Element>
size_t attention_spans_workspace_bytes(const AttentionShape& shape, int64_t tiles, int64_t tile_rows,
                                       int64_t max_tokens);

struct SpansArguments {
  int64_t tile_rows;
  int64_t max_tokens;  ///< upper bound of start + count over the sequences
  void* workspace;     ///< aligned to 16 bytes
  size_t workspace_bytes;
};
/// Throws Error(unsupported) for a head_dim over 256 and Error(invalid_argument) for a workspace too small for one
/// tile.
template <typename Element>
void attention_spans(cudaStream_t stream, const AttentionArguments<Element>& arguments, const SpansArguments& spans);

/// The softmax weights of one sequence, for looking at: weights [n_heads][head_stride], row t of `row_stride`
/// floats: token t's weights in its first start + t + 1 entries, zeros up to start + count. A simple kernel.
template <typename Element>
struct AttentionWeightsArguments {
  const Element* queries;
  int64_t query_stride;
  SequenceRows sequence;
  float* const* pages;  ///< device array
  AttentionShape shape;
  float* weights;
  int64_t head_stride;
  int64_t row_stride;
};
template <typename Element>
void attention_weights(cudaStream_t stream, const AttentionWeightsArguments<Element>& arguments);

}  // namespace bamba::backend::cuda
