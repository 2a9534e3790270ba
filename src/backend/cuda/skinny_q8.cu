// Skinny products with q8 weights.
#include "backend/cuda/quantized_decode.cuh"
#include "backend/cuda/skinny_bytes.cuh"

namespace bamba::backend::cuda {
namespace {

struct Q8Format : skinny::BytesFormat {
  static constexpr int kStageInputs = 128;
  static constexpr int kBlocks = 1;
  static constexpr int kStageGroups = 2;
  static constexpr int kTableBytes = 0;
  static constexpr bool kFolds = true;

  __device__ static void decode(uint2 raw, int, const unsigned char*, uint32_t (&pairs)[4]) {
    decode_q8(raw.x, pairs[0], pairs[1]);
    decode_q8(raw.y, pairs[2], pairs[3]);
  }
  /// Two k32 blocks share a group: their sums are scaled one by one all the same.
  __device__ static void factors(const SkinnyParams&, const unsigned char* scales, int warp_out, int g, int block, int,
                                 int, float (&factors)[4]) {
    skinny::group_factors(scales, block / 2, warp_out, g, factors);
  }
};

}  // namespace

void skinny_mma_q8(cudaStream_t stream, SkinnyParams params, int multiprocessors) {
  skinny::launch_for_rows<Q8Format>(stream, params, multiprocessors);
}

}  // namespace bamba::backend::cuda
