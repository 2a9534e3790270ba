// Skinny products with q4 weights.
//
// A code's level comes out of a table in shared memory: the byte of two neighbouring codes gives both levels as a bf16
// pair, ready for mma. The table exists once for each lane, entry e of lane l at byte 256 e + 4 l: no two lanes of a
// warp ever meet in a bank, and one byte permutation makes an address of a code and a lane. (So half of the table's
// memory is not used.) That is half an integer instruction and half a load a weight; looking levels up by byte
// permutations would take 2 to 3, which is more than the integer units can do at the speed at which memory delivers.
#include "backend/cuda/quantized_decode.cuh"
#include "backend/cuda/skinny_mma.cuh"

namespace bamba::backend::cuda {
namespace {

struct Q4Format : skinny::BytesFormat {
  static constexpr int kStageInputs = stage_inputs(WeightKind::q4);
  static constexpr int kTeams = 1;
  static constexpr int kBlocks = 4;
  static constexpr int kFoldBlocks = 1;
  static constexpr int kStageGroups = stage_groups(WeightKind::q4);
  static constexpr int kEntryBytes = 256;
  static constexpr int kTableBytes = 256 * kEntryBytes;
  static constexpr bool kFolds = true;

  /// A warp fills entries of its own: each lane finds one, then all lanes write each.
  __device__ static void fill_table(unsigned char* table, int thread, int threads) {
    const int lane = thread % 32;
    const int each = 256 * 32 / threads;  // entries of a warp
    const int first = thread / 32 * each;
    const uint32_t own = q4_level_pair(first + lane % each);
    for (int i = 0; i < each; ++i) {
      *reinterpret_cast<uint32_t*>(table + (first + i) * kEntryBytes + lane * 4) = __shfl_sync(~0U, own, i);
    }
  }
  /// Of a k32 block: a piece has 4 bytes of each of two groups.
  __device__ static uint32_t codes_of(const Raw& raw, int b) {
    const uint2 piece = raw.piece[b / 2];
    return b % 2 == 0 ? piece.x : piece.y;
  }
  __device__ static void decode(const Raw& raw, int b, const unsigned char* table, uint32_t (&pairs)[4]) {
    const uint32_t codes = codes_of(raw, b);
    const uint32_t lane = threadIdx.x % 32 * 4;
    // Byte 0 of an offset is the lane's, byte 1 the code's.
    const auto level = [&](uint32_t selector) {
      return *reinterpret_cast<const uint32_t*>(table + __byte_perm(codes, lane, selector));
    };
    pairs[0] = level(0x5504);
    pairs[1] = level(0x5514);
    pairs[2] = level(0x5524);
    pairs[3] = level(0x5534);
  }
  template <SkinnyEnd kEnd>
  __device__ static void factors(const SkinnyParams&, const unsigned char* scales, int warp_out, int row, int block,
                                 int, int, float (&factors)[4]) {
    skinny::group_factors<kStageGroups, kEnd>(scales, block, warp_out, row, factors);
  }
};

/// Does every byte have this sign bit?
constexpr bool signs_are(uint64_t bytes, bool set) {
  return (bytes & 0x8080808080808080U) == (set ? 0x8080808080808080U : 0);
}

constexpr uint64_t reversed(uint64_t bytes) {
  uint64_t result = 0;
  for (int i = 0; i < 8; ++i) result |= (bytes >> (8 * i) & 0xFFU) << (8 * (7 - i));
  return result;
}

/// Levels by byte permutations, four at a time, as integers. A permutation chooses among eight bytes by three bits of
/// each selector; with the fourth it gives eight times the chosen byte's sign. So one among the lower levels, all
/// negative, is -1 for codes from 8 on. The upper levels, one more than they are and all positive, are chosen by the
/// codes' complements, highest first: those of codes below 8 have the fourth bit, and give 0. Products with both are
/// added up.
///
/// Permutations, shifts and logic take turns in one pipe, which is what limits this loop. Complements are made in
/// another one, by multiplication: -1 * v + -1. (A shift as a product's high half takes that one longer than it saves
/// here.)
template <int kRows>
struct Q4FixedFormat : Q4Format {
  static constexpr bool kFixed = true;
  static constexpr int kRowRoom = kRows;
  // Of more rows two would not have the registers.
  static constexpr int kTeams = kRows == 1 ? 2 : 1;
  static constexpr int kGroupBlocks = 1;
  static constexpr int kTableBytes = 0;
  static constexpr int kTerms = 2;

  /// Half of either table. (The other half is in the instructions.)
  struct Tables {
    uint32_t lower;
    uint32_t upper;
    uint32_t minus_one;

    /// zero: not known to the compiler, which would copy a constant in front of each use, and not multiply by -1.
    explicit __device__ Tables(uint32_t zero)
        : lower(static_cast<uint32_t>(kLower) + zero),
          upper(static_cast<uint32_t>(kUpper) + zero),
          minus_one(zero - 1U) {}

    __device__ uint32_t complement(uint32_t v) const {
      uint32_t result = 0;
      asm("mad.lo.u32 %0, %1, %2, %2;" : "=r"(result) : "r"(v), "r"(minus_one));
      return result;
    }
  };

  __device__ static void terms(const Tables& tables, const Raw& raw, int b, int term, uint32_t& first, uint32_t& last) {
    const uint32_t codes = codes_of(raw, b);
    const uint32_t next = codes >> 16;
    first = term == 0 ? permute(tables.lower, kLower, codes) : permute(tables.upper, kUpper, tables.complement(codes));
    last = term == 0 ? permute(tables.lower, kLower, next) : permute(tables.upper, kUpper, tables.complement(next));
  }

 private:
  static constexpr uint64_t kLower = q4_level_bytes(0);
  static constexpr uint64_t kUpper = reversed(q4_level_bytes(8, 1));
  static_assert(signs_are(kLower, true) && signs_are(kUpper, false));

  /// By the low 16 bits of `selector`; nothing masks their signs here, as __byte_perm() does. low: of `bytes`.
  static __device__ uint32_t permute(uint32_t low, uint64_t bytes, uint32_t selector) {
    uint32_t result = 0;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(static_cast<uint32_t>(bytes >> 32)), "r"(selector));
    return result;
  }
};

}  // namespace

void skinny_mma_q4(cudaStream_t stream, const SkinnyParams& params) {
  if (params.fixed) return skinny::launch_fixed<Q4FixedFormat>(stream, params);
  skinny::launch_for_rows<Q4Format>(stream, params);
}

}  // namespace bamba::backend::cuda
