// Skinny products with bf16 weights.
#include "backend/cuda/skinny_mma.cuh"

namespace bamba::backend::cuda {
namespace {

struct Bf16Format {
  static constexpr int kStageInputs = stage_inputs(WeightKind::bf16);
  static constexpr int kTeams = 2;
  static constexpr int kBlocks = 1;
  static constexpr int kFoldBlocks = 1;
  static constexpr int kStageGroups = stage_groups(WeightKind::bf16);
  static constexpr int kTableBytes = 0;
  static constexpr bool kFolds = false;
  static constexpr bool kGates = true;
  static constexpr bool kFixed = false;
  using Raw = uint4;

  __device__ static uint4 read(const unsigned char* row, int place, int warp_k, int t) {
    return *reinterpret_cast<const uint4*>(row + ((4 * warp_k + t) ^ place) * 16);
  }
  __device__ static void decode(uint4 raw, int, const unsigned char*, uint32_t (&pairs)[4]) {
    pairs[0] = raw.x;
    pairs[1] = raw.y;
    pairs[2] = raw.z;
    pairs[3] = raw.w;
  }
};

}  // namespace

void skinny_mma_bf16(cudaStream_t stream, const SkinnyParams& params) {
  skinny::launch_for_rows<Bf16Format>(stream, params);
}

}  // namespace bamba::backend::cuda
