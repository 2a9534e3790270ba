// Products of few rows (decoding a batch) with a weight in any format: the weight is read once, at the speed of memory.
//
//   out[r, o] = sum_k in[r, k] * weight[o, k]  (+ bias[o])  (+ out[r, o] when accumulating)
//
// Two paths:
//   mma    bf16 activations, up to kSkinnyRows rows: tensor cores with f32 accumulation, for any number of rows. The
//          weights' values stay exact, but for the row and group scales of quantized formats, which multiply f32 sums
//          instead.
//   plain  everything else: f32 activations (with FP32 multiply-adds only: the mode for checking), any alignment, any
//          number of rows. At memory speed for one row; from about 8 rows on, arithmetic limits it.
//
// Determinism: on either path a row's result depends on that row, the shape and format of the weight and of those that
// share its launch, and the GPU's number of multiprocessors. On the mma path it also depends on whether there are more
// than 8 rows, unless that is ruled out (SkinnyArguments::exact), and with inputs in fixed point on how many there are.
// No float is added atomically; where several blocks share an output's inputs, the one that has the first adds up the
// others' sums in the order of the inputs.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/fixed_rows.h"
#include "backend/cuda/skinny_weight.h"

namespace bamba::backend::cuda {

using backend::Activation;
using backend::Element;

/// Outputs of a tile: what a block works on at a time.
constexpr int kSkinnyTile = 128;
constexpr int64_t skinny_tiles(int64_t outputs) {
  return (outputs + kSkinnyTile - 1) / kSkinnyTile;
}

/// Most rows of one call on the mma path.
constexpr int64_t kSkinnyRows = 32;
/// Most rows of one call with a norm, a convolution or a gate. Beyond, what follows a product costs as little in
/// kernels of its own.
constexpr int64_t kJoinedRows = 8;

/// Most rows of one call whose inputs are fixed point.
constexpr int64_t kFixedRows = 4;

/// Input rows that lack their norm's factor: every sum of row r is multiplied by
/// 1 / sqrt(sum(squares[r, 0 .. parts)) / inputs + eps).
struct SkinnyInputNorm {
  const float* squares = nullptr;  ///< [rows, parts]; null: nothing is multiplied
  int parts = 0;
  float eps = 0;
};

/// The results' norm, but for its factor: out = weight * result, and sums of squares of each tile of kSkinnyTile
/// results.
struct SkinnyOutputNorm {
  const float* weight = nullptr;  ///< [weight.out]; null: no norm
  __nv_bfloat16* out = nullptr;   ///< [rows, weight.out]
  int64_t out_stride = 0;         ///< elements, a multiple of 4
  float* squares = nullptr;       ///< [rows, skinny_tiles(weight.out)]
};

/// Columns [first, first + channels) of the results, rounded to bf16, go through a convolution of width 4 instead of to
/// `out`, each row with a window of its own: see causal_conv().
struct SkinnyConv {
  float* const* windows = nullptr;  ///< [rows] pointers to [4, channels]; null: no convolution
  const float* weight = nullptr;    ///< [4, channels]
  const float* bias = nullptr;      ///< [channels], or null
  __nv_bfloat16* out = nullptr;     ///< [rows, channels]
  int out_stride = 0;               ///< elements, a multiple of 4
  int first = 0;                    ///< a multiple of kSkinnyTile, like channels
  int channels = 0;
  Activation activation = Activation::silu;
};

struct SkinnyArguments {
  DeviceWeight weight;
  const void* in = nullptr;  ///< [rows, weight.in]; unused where fixed_in is given
  Element in_element = Element::bf16;
  int64_t in_stride = 0;  ///< elements
  int64_t rows = 0;
  void* out = nullptr;  ///< [rows, weight.out]; must not overlap in
  Element out_element = Element::bf16;
  int64_t out_stride = 0;       ///< elements
  const float* bias = nullptr;  ///< [weight.out], or null
  bool accumulate = false;
  void* workspace =
      nullptr;  ///< skinny_workspace_bytes(), aligned to 256; not shared by calls that may overlap in time
  /// On the mma path, with inputs that are not fixed point: a row's bits do not depend on the number of rows. Slower
  /// for few.
  bool exact = false;
  /// Launches with programmatic stream serialization: the kernel may begin, and fetch its first weights, while the
  /// kernel before it in the stream still runs. It reads `in` and writes only after that one has completed. (It
  /// lets its own successor begin early in any case, which has no effect on one that was not launched so.)
  bool overlap_previous = false;
  // What only the mma path can do, with up to kJoinedRows rows.
  SkinnyInputNorm in_norm;
  SkinnyOutputNorm norm;  ///< of a product that is alone in its launch; weight.out a multiple of 4
  SkinnyConv conv;        ///< the same
  /// Inputs in fixed point, with q8 and q4 weights, up to kFixedRows rows, weight.in a multiple of kFixedBoxInputs; low
  /// bytes lie behind high ones, a multiple of 16 bytes.
  FixedRows fixed_in;
  /// Where a norm's or a gate's results go in fixed point, instead of to norm.out or `out`; weight.out a multiple of
  /// kSkinnyTile.
  FixedRows fixed_out;
};

/// Inputs that fixed point comes by.
constexpr int kFixedBoxInputs = 128;

/// Bytes of workspace that serve every call on the current device. They must be zero before the first call; calls leave
/// them zero.
size_t skinny_workspace_bytes();

/// Whether skinny_linear takes the mma path: bf16 activations at addresses and strides of 16 bytes, bf16, fp8, q8 or q4
/// weights aligned likewise (fp8: a multiple of 16 inputs, others of 8), at most kSkinnyRows rows.
bool skinny_is_fast(const SkinnyArguments& arguments);

/// Either path. Throws Error(invalid_argument) for shapes that no launch can take.
void skinny_linear(cudaStream_t stream, const SkinnyArguments& arguments);

/// Products of the same rows: one launch, whose blocks share all outputs evenly.
constexpr int kSkinnyProducts = 4;
struct SkinnyList {
  SkinnyArguments products[kSkinnyProducts];
  int count = 0;
  /// Of two products of equally many outputs: out = activation(first) * second goes to the first's `out`, nothing to
  /// the second's. No accumulation, no scales of blocks.
  bool gated = false;
  Activation activation = Activation::silu;
};
/// Whether two products may be in one list: both on the mma path, with the same rows, workspace and kind of weight.
bool skinny_share(const SkinnyArguments& a, const SkinnyArguments& b);
void skinny_linears(cudaStream_t stream, const SkinnyList& list);

/// How the mma path divides weights among blocks: block b computes the units [b * per_block, (b + 1) * per_block) out
/// of tiles * chunks, unit u being inputs chunk u % chunks of the outputs' tile u / chunks.
struct SkinnyPlan {
  int tiles;
  int chunks;
  int per_block;
  int blocks;
};
/// tiles: of all weights of the launch; chunk_inputs: inputs of a chunk.
SkinnyPlan plan_skinny(int64_t tiles, int64_t in, int64_t chunk_inputs, int multiprocessors);

}  // namespace bamba::backend::cuda
