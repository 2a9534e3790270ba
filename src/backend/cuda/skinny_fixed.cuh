// The stage of a skinny product whose inputs are 16-bit fixed point (fixed_rows.h) and whose weights are int8 levels:
// products are integers on tensor cores (m16n8k32), and no float is made of a weight.
//
// Of the eight columns of a fragment four are high halves of rows, four low ones. Row r of a stage's inputs lies in its
// swizzled boxes as row r (high) and row r + 4 (low), which the order of fragments (row_of) gives to one thread: its
// sums 2 t and 2 t + 1. Within a k32 block a thread takes inputs 8 t .. 8 t + 7, as in skinny_mma.cuh.
//
// With fewer rows than four, the columns of those that are not there serve other blocks: a fragment's column has one
// block's inputs and zeros for the others, so that sums of several blocks, whose scales differ, wait in one fragment
// until they are scaled together. Column pair q is row q % R of block q / R, with R = 1, 2 or 4 for up to so many rows.
#pragma once

#include <cstdint>

#include "backend/cuda/keep.cuh"
#include "backend/cuda/skinny_bytes.cuh"

namespace bamba::backend::cuda::skinny {

/// d = a * b + c: a 16 x 32 (weights), b 32 x 8 (inputs).
__device__ inline void mma(int (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1,
                           const int (&c)[4]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

/// Sums begin with the bits of 1.5 * 2^23: with up to 2^22 added they are those of a float that is as much larger.
constexpr float kIntegerBase = 12582912.0f;
constexpr int kIntegerBaseBits = 0x4B400000;
static_assert(kFixedGroup * 128 * 128 < (1 << 22));

// What a format provides, besides what skinny_shape.cuh says:
//   kRowRoom                       1, 2 or 4: the most rows
//   kGroupBlocks                   k32 blocks that share a group's scale
//   kTerms                         a level is the sum of so many int8
//   Tables                         what terms() looks up, kept in registers
//   terms(tables, raw, b, i, first, last)  term i of a thread's levels of a k32 block, four inputs each

/// A thread's part in every stage.
template <class Format, SkinnyEnd kEnd>
class FixedMultiplier {
  using S = Shape<Format, 1, Format::kRowRoom, 1>;  // stages are those of any number of teams
  static constexpr int kBlocks = Format::kBlocks;
  static constexpr int kRoom = Format::kRowRoom;
  // Blocks whose sums share a fragment.
  static constexpr int kTogether = kFixedRows / kRoom < kBlocks ? kFixedRows / kRoom : kBlocks;
  static constexpr int kGroupPitch = kEnd == SkinnyEnd::gated ? kGatedTile : kSkinnyTile;

 public:
  __device__ explicit FixedMultiplier(const SkinnyParams& p)
      : tables_((threadIdx.x + static_cast<unsigned>(p.rows)) >> 16) {  // zero: see there
    const StagePlace place;
#pragma unroll
    for (int i = 0; i < Format::kPieces; ++i) codes_[i] = place.template offset<Format>(i);
    // Whose inputs the thread's column has, and whose sums are the thread's. Pairs that no block needs have zeros to
    // sum, of whichever scale.
    const int in_pair = place.row % kFixedRows;
    const int half = place.row / kFixedRows * kFixedRows;
    const int first_block = place.k * kBlocks;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      // Zeros are in place of the last row, with room for fewer (clear_missing_rows).
      const bool own = kTogether == 1 || in_pair / kRoom == b % kTogether;
      const int row = half + (own ? in_pair % kRoom : kFixedRows - 1);
      const int block = first_block + b;
      const int chunk = ((block % 4 * 2 + place.t / 2) ^ row) * 16 + place.t % 2 * 8;
      columns_[b] = kWeightBytes + block / 4 * S::kBoxBytes + row * kStageRowBytes + chunk;
    }
    const int sum_pair = row_of(2 * place.t);
    const int sum_block = first_block + min(sum_pair / kRoom, kTogether - 1);
    scales_ = kWeightBytes + S::kActivationBytes +
              group_scale_offset<Format::kStageGroups, kEnd>(sum_block / Format::kGroupBlocks, place.out, place.row);
    input_scales_ = kWeightBytes + S::kActivationBytes + S::kScaleBytes +
                    (sum_pair % kRoom * S::kInputGroups + sum_block) * static_cast<int>(sizeof(float));
    for (uint32_t& each : codes_) keep(each);
    for (uint32_t& each : columns_) keep(each);
    keep(scales_);
    keep(input_scales_);
  }

  __device__ void multiply(const unsigned char* stage, Sums<1>& sums) const {
    typename Format::Raw raw[4];
#pragma unroll
    for (int i = 0; i < Format::kPieces; ++i) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        raw[r].piece[i] = *reinterpret_cast<const uint2*>(stage + codes_[i] + r * 8 * kStageRowBytes);
      }
    }
#pragma unroll
    for (int first = 0; first < kBlocks; first += kTogether) {
      float factors[4];
      unpack_group_scales(
          *reinterpret_cast<const uint32_t*>(stage + scales_ + first / Format::kGroupBlocks * kGroupPitch), factors);
      const float input_scale = *reinterpret_cast<const float*>(stage + input_scales_ + first * sizeof(float));
#pragma unroll
      for (float& factor : factors) factor *= input_scale;
      int part[2][4];
#pragma unroll
      for (int b = first; b < first + kTogether; ++b) {
        const uint2 operand = *reinterpret_cast<const uint2*>(stage + columns_[b]);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
          for (int term = 0; term < Format::kTerms; ++term) {
            constexpr int kBase[] = {kIntegerBaseBits, kIntegerBaseBits, kIntegerBaseBits, kIntegerBaseBits};
            uint32_t upper[2];
            uint32_t lower[2];
            Format::terms(tables_, raw[2 * m], b, term, upper[0], upper[1]);
            Format::terms(tables_, raw[2 * m + 1], b, term, lower[0], lower[1]);
            if (b == first && term == 0) {
              mma(part[m], upper[0], lower[0], upper[1], lower[1], operand.x, operand.y, kBase);
            } else {
              mma(part[m], upper[0], lower[0], upper[1], lower[1], operand.x, operand.y, part[m]);
            }
          }
        }
      }
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float& total = sums.value[m][0][j];
          total = fmaf(__int_as_float(part[m][j]) - kIntegerBase, factors[2 * m + j / 2], total);
        }
      }
    }
  }

 private:
  // Bytes from a stage's beginning.
  uint32_t codes_[Format::kPieces];
  uint32_t columns_[kBlocks];
  uint32_t scales_;
  uint32_t input_scales_;
  typename Format::Tables tables_;
};

/// A tile's sums, which a row has in several columns, become those of the row in its own.
template <class Format>
__device__ inline void join_sums(Sums<1>& sums) {
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      float& sum = sums.value[m][0][j];
      sum = fmaf(256.0f, sum, sums.value[m][0][j + 1]);
      // Of a quad's pairs, 0, 2, 1 and 3, those that differ in their block.
      if (Format::kRowRoom <= 2) sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 1);
      if (Format::kRowRoom <= 1) sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
    }
  }
}

}  // namespace bamba::backend::cuda::skinny
