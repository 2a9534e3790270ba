// What the kernels of skinny_mma.cuh take, and the launches of their instances, one file per weight format.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backend/cuda/skinny.h"

namespace bamba::backend::cuda {

/// Outputs of a tile: what a block works on at a time.
constexpr int kSkinnyTile = 128;

/// One product of a launch.
struct SkinnyPart {
  const unsigned char* codes;
  int64_t pitch;
  const int8_t* group_scales;
  int64_t group_scale_pitch;
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

struct SkinnyParams {
  SkinnyPart parts[kSkinnyProducts];
  int n_parts;
  int row_bytes;  // of one output's codes, up to its last input
  int groups;
  const __nv_bfloat16* in;
  int64_t in_stride;
  int rows;
  int inputs;
  int tiles;
  bool prefetch;
  SkinnyPlan plan;
  int* counters;    // [blocks], zero before and after
  float* partials;  // [blocks, 2, rows, kSkinnyTile]
};

void skinny_mma_bf16(cudaStream_t stream, SkinnyParams params, int multiprocessors);
void skinny_mma_fp8(cudaStream_t stream, SkinnyParams params, int multiprocessors);
void skinny_mma_q8(cudaStream_t stream, SkinnyParams params, int multiprocessors);
void skinny_mma_q4(cudaStream_t stream, SkinnyParams params, int multiprocessors);

}  // namespace bamba::backend::cuda
