// Products of few rows (decoding a batch) with a weight in any format: the weight is read once, at the speed of memory.
//
//   out[r, o] = sum_k in[r, k] * weight[o, k]  (+ bias[o])  (+ out[r, o] when accumulating)
//
// Two paths:
//   mma    bf16 activations, up to kSkinnyRows rows: tensor cores with f32 accumulation, for any number of rows, so
//   that
//          a row's bits do not depend on how many there are. Weights keep their exact values, but for the row and group
//          scales of quantized formats, which multiply f32 sums instead.
//   plain  everything else: f32 activations (with FP32 multiply-adds only: the mode for checking), any alignment, any
//          number of rows. At memory speed for one row; from about 8 rows on, arithmetic limits it.
//
// Determinism: on either path a row's result depends on that row, the shape and format of the weight and of those that
// share its launch, and the GPU's number of multiprocessors alone. No float is added atomically; the partial sums of
// outputs whose inputs several blocks share are added in the order of the inputs, by the block that comes last,
// whichever it is.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/skinny_weight.h"

namespace bamba::backend::cuda {

using backend::Element;

/// Most rows of one call on the mma path.
constexpr int64_t kSkinnyRows = 32;

struct SkinnyArguments {
  DeviceWeight weight;
  const void* in = nullptr;  ///< [rows, weight.in]
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
  /// Launches with programmatic stream serialization: the kernel may begin, and fetch its first weights, while the
  /// kernel before it in the stream still runs. It reads `in` and writes only after that one has completed. (It
  /// lets its own successor begin early in any case, which has no effect on one that was not launched so.)
  bool overlap_previous = false;
};

/// Bytes of workspace that serve every call on the current device. The first kSkinnyCounterBytes must be zero before
/// the first call; calls leave them zero.
size_t skinny_workspace_bytes();
constexpr size_t kSkinnyCounterBytes = 4096;

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
