// Skinny products with q8 weights.
#include "backend/cuda/quantized_decode.cuh"
#include "backend/cuda/skinny_bytes.cuh"

namespace bamba::backend::cuda {
namespace {

struct Q8Format : skinny::BytesFormat {
  static constexpr int kStageInputs = stage_inputs(WeightKind::q8);
  static constexpr int kBlocks = 2;
  static constexpr int kFoldBlocks = 2;  // share a group
  static constexpr int kStageGroups = stage_groups(WeightKind::q8);
  static constexpr int kTableBytes = 0;
  static constexpr bool kFolds = true;

  __device__ static void decode(const Raw& raw, int b, const unsigned char*, uint32_t (&pairs)[4]) {
    decode_q8(raw.piece[b].x, pairs[0], pairs[1]);
    decode_q8(raw.piece[b].y, pairs[2], pairs[3]);
  }
  __device__ static void factors(const SkinnyParams&, const unsigned char* scales, int warp_out, int row, int block,
                                 int, int, float (&factors)[4]) {
    skinny::group_factors(scales, block / 2, warp_out, row, factors);
  }
};

}  // namespace

void skinny_mma_q8(cudaStream_t stream, const SkinnyParams& params) {
  skinny::launch_for_rows<Q8Format>(stream, params);
}

}  // namespace bamba::backend::cuda
