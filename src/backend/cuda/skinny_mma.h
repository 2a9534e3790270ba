// What the kernels of skinny_mma.cuh take, and the launches of their instances, one file per weight format.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

/// Bytes of each output's codes in a unit.
constexpr int kStageRowBytes = 128;

/// Inputs of a box of activations: 128 bytes.
constexpr int kBoxInputs = 64;

/// Inputs of a unit, of the formats that tensor cores multiply.
constexpr int stage_inputs(WeightKind kind) {
  switch (kind) {
    case WeightKind::bf16:
      return kStageRowBytes / 2;
    case WeightKind::q4:
      return kStageRowBytes * 2;
    default:
      return kStageRowBytes;
  }
}
/// Groups of scales in a unit.
constexpr int stage_groups(WeightKind kind) {
  return kind == WeightKind::q8 ? 2 : kind == WeightKind::q4 ? 8 : 0;
}

/// Rows that a kernel for `rows` of them has room for.
constexpr int skinny_row_room(int64_t rows) {
  return rows <= 8 ? 8 : rows <= 16 ? 16 : 32;
}

/// Most rows whose inputs a warp's lanes ask for; those of more come in boxes (skinny_inputs.cuh).
constexpr int kFedRows = 8;

/// Outputs of either product in a tile of two whose results are multiplied with each other.
constexpr int kGatedTile = kSkinnyTile / 2;

/// Warps that multiply a unit; as many end a tile's rows.
constexpr int kSkinnyWarps = 8;

/// One product of a launch.
struct SkinnyPart {
  CUtensorMap codes;         // boxes of kStageRowBytes x kSkinnyTile, or kGatedTile
  CUtensorMap group_scales;  // boxes of as many x stage_groups, where there are any
  const float* row_scales;
  const float* block_scales;
  const float* bias;
  void* out;
  int64_t out_stride;
  int outputs;
  int first_tile;  // of the launch
  bool out_is_bf16;
  bool accumulate;
  bool fours;  // four outputs that begin at a multiple of four are one aligned access
};

/// How a tile ends: skinny_ends.cuh. All but `plain` are compiled for kJoinedRows rows at most.
enum class SkinnyEnd { plain, norm, convolution, gated };

struct SkinnyParams {
  SkinnyPart parts[kSkinnyProducts];
  CUtensorMap in_boxes;  // of kBoxInputs x kMaxRows; of more than kFedRows rows
  const unsigned char* in;
  int64_t in_stride_bytes;
  int64_t in_half_bytes;  // from high bytes of fixed point to low ones
  const unsigned char* in_scales;
  int64_t in_scale_stride_bytes;
  bool fixed;
  int rows;
  int n_parts;
  int inputs;
  bool early;
  bool exact;
  SkinnyEnd end;
  Activation activation;
  SkinnyInputNorm in_norm;
  SkinnyOutputNorm norm;
  SkinnyConv conv;
  FixedRows fixed_out;
  SkinnyPlan plan;
  float* partials;  // shared_sums.cuh
};

void skinny_mma_bf16(cudaStream_t stream, const SkinnyParams& params);
void skinny_mma_fp8(cudaStream_t stream, const SkinnyParams& params);
void skinny_mma_q8(cudaStream_t stream, const SkinnyParams& params);
void skinny_mma_q4(cudaStream_t stream, const SkinnyParams& params);

}  // namespace bamba::backend::cuda
