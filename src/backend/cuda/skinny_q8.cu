// Skinny products with q8 weights.
#include "backend/cuda/quantized_decode.cuh"
#include "backend/cuda/skinny_mma.cuh"

namespace bamba::backend::cuda {
namespace {

struct Q8Format : skinny::BytesFormat {
  static constexpr int kStageInputs = stage_inputs(WeightKind::q8);
  static constexpr int kTeams = 2;
  static constexpr int kBlocks = 2;
  static constexpr int kFoldBlocks = 2;  // share a group
  static constexpr int kStageGroups = stage_groups(WeightKind::q8);
  static constexpr int kTableBytes = 0;
  static constexpr bool kFolds = true;

  __device__ static void decode(const Raw& raw, int b, const unsigned char*, uint32_t (&pairs)[4]) {
    decode_q8(raw.piece[b].x, pairs[0], pairs[1]);
    decode_q8(raw.piece[b].y, pairs[2], pairs[3]);
  }
  template <SkinnyEnd kEnd>
  __device__ static void factors(const SkinnyParams&, const unsigned char* scales, int warp_out, int row, int block,
                                 int, int, float (&factors)[4]) {
    skinny::group_factors<kStageGroups, kEnd>(scales, block / 2, warp_out, row, factors);
  }
};

template <int kRows>
struct Q8FixedFormat : Q8Format {
  static constexpr bool kFixed = true;
  static constexpr int kRowRoom = kRows;
  static constexpr int kGroupBlocks = 2;
  static constexpr int kTerms = 1;

  struct Tables {
    explicit __device__ Tables(uint32_t) {}
  };

  __device__ static void terms(const Tables&, const Raw& raw, int b, int, uint32_t& first, uint32_t& last) {
    first = raw.piece[b].x;
    last = raw.piece[b].y;
  }
};

}  // namespace

void skinny_mma_q8(cudaStream_t stream, const SkinnyParams& params) {
  if (params.fixed) return skinny::launch_fixed<Q8FixedFormat>(stream, params);
  skinny::launch_for_rows<Q8Format>(stream, params);
}

}  // namespace bamba::backend::cuda
