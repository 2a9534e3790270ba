// Skinny products with q4 weights.
//
// A code's level comes out of a table in shared memory: the byte of two neighbouring codes gives both levels as a bf16
// pair, ready for mma. The table exists once for each lane, entry e of lane l at word 32 e + l, so that no two lanes of
// a warp ever meet in a bank. That is 1 integer instruction and half a load a weight; looking levels up by byte
// permutations would take 2 to 3, which is more than the integer units can do at the speed at which memory delivers.
#include "backend/cuda/quantized_decode.cuh"
#include "backend/cuda/skinny_bytes.cuh"

namespace bamba::backend::cuda {
namespace {

struct Q4Format : skinny::BytesFormat {
  static constexpr int kStageInputs = 256;
  static constexpr int kBlocks = 2;
  static constexpr int kStageGroups = 8;
  static constexpr int kTableBytes = 256 * 32 * 4;
  static constexpr bool kFolds = true;

  /// A warp fills entries of its own: each lane finds one, then all lanes write each.
  __device__ static void fill_table(unsigned char* table, int thread, int threads) {
    const int lane = thread % 32;
    const int each = 256 * 32 / threads;  // entries of a warp
    const int first = thread / 32 * each;
    const uint32_t own = q4_level_pair(first + lane % each);
    for (int i = 0; i < each; ++i) {
      reinterpret_cast<uint32_t*>(table)[(first + i) * 32 + lane] = __shfl_sync(~0U, own, i);
    }
  }
  /// raw: 4 bytes of each of two groups.
  __device__ static void decode(uint2 raw, int b, const unsigned char* table, uint32_t (&pairs)[4]) {
    const uint32_t codes = b == 0 ? raw.x : raw.y;
    const uint32_t lane = threadIdx.x % 32 * 4;
    constexpr uint32_t kEntry = 0xFF << 7;  // a byte's place in an offset into the table
    const auto level = [&](uint32_t shifted) {
      return *reinterpret_cast<const uint32_t*>(table + ((shifted & kEntry) | lane));
    };
    pairs[0] = level(codes << 7);
    pairs[1] = level(codes >> 1);
    pairs[2] = level(codes >> 9);
    pairs[3] = level(codes >> 17);
  }
  __device__ static void factors(const SkinnyParams&, const unsigned char* scales, int warp_out, int g, int block, int,
                                 int, float (&factors)[4]) {
    skinny::group_factors(scales, block, warp_out, g, factors);
  }
};

}  // namespace

void skinny_mma_q4(cudaStream_t stream, SkinnyParams params, int multiprocessors) {
  skinny::launch_for_rows<Q4Format>(stream, params, multiprocessors);
}

}  // namespace bamba::backend::cuda
