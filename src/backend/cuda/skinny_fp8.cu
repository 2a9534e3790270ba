// Skinny products with e4m3 weights, scaled by output or by blocks of 128 x 128.
#include "backend/cuda/fp8_decode.cuh"
#include "backend/cuda/skinny_mma.cuh"

namespace bamba::backend::cuda {
namespace {

struct Fp8Format : skinny::BytesFormat {
  static constexpr int kStageInputs = stage_inputs(WeightKind::fp8);
  static constexpr int kTeams = 2;
  static constexpr int kBlocks = 2;
  static constexpr int kFoldBlocks = kBlocks;
  static constexpr int kStageGroups = stage_groups(WeightKind::fp8);
  static constexpr int kTableBytes = 0;
  static constexpr bool kFolds = false;

  __device__ static void decode(const Raw& raw, int b, const unsigned char*, uint32_t (&pairs)[4]) {
    decode_e4m3(raw.piece[b].x, pairs[0], pairs[1]);
    decode_e4m3(raw.piece[b].y, pairs[2], pairs[3]);
  }
};

/// A stage's inputs and a tile's outputs are one block of scales.
struct Fp8BlockFormat : Fp8Format {
  static_assert(Fp8Format::kStageInputs == kFp8Block && kSkinnyTile == kFp8Block);
  static constexpr bool kFolds = true;
  static constexpr bool kGates = false;

  template <SkinnyEnd kEnd>
  __device__ static void factors(const SkinnyParams& p, const unsigned char*, int, int, int, int tile, int chunk,
                                 float (&factors)[4]) {
    const SkinnyPart& part = skinny::part_of<kEnd>(p, tile);
    const float scale = __ldg(part.block_scales + int64_t{tile - part.first_tile} * p.plan.chunks + chunk);
    for (float& factor : factors) factor = scale;
  }
};

}  // namespace

void skinny_mma_fp8(cudaStream_t stream, const SkinnyParams& params) {
  if (params.parts[0].block_scales != nullptr) {
    skinny::launch_for_rows<Fp8BlockFormat>(stream, params);
  } else {
    skinny::launch_for_rows<Fp8Format>(stream, params);
  }
}

}  // namespace bamba::backend::cuda
