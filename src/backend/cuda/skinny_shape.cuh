// What a block of a skinny product has: its warps, and a ring of stages in shared memory that weights and inputs come
// through.
#pragma once

#include <algorithm>

#include "backend/cuda/bulk_copy.cuh"
#include "backend/cuda/skinny_finish.cuh"
#include "backend/cuda/skinny_mma.h"

namespace bamba::backend::cuda::skinny {

constexpr int kWeightBytes = kSkinnyTile * kStageRowBytes;
constexpr int kMostStages = 12;
constexpr int kBoxRowBytes = kBoxInputs * 2;

// What a weight format provides:
//   kStageInputs        inputs of a stage
//   kBlocks             k32 blocks of a warp in a stage; kWarpsK * kBlocks * 32 == kStageInputs
//   kStageGroups        groups of scales in a stage, or 0
//   kTableBytes         shared memory for a table, filled by fill_table(table)
//   kFolds              sums of kFoldBlocks blocks are multiplied by factors() before they join the total
//   Raw, read(...)      a thread's codes of one row
//   decode(...)         the fragment [4] of a k32 block, bf16 pairs in order
//   factors<end>(...)   of fragment rows g, g + 8, g + 16, g + 24 of the warp's outputs
//   kGates              whether there is SkinnyEnd::gated
//   kTeams              see Shape, for up to 8 rows
//   kFixed              whether inputs are 16-bit fixed point; then see skinny_fixed.cuh for what else there is
template <class Format, int kColumnTiles, int kRowRoom, int kTeamCount>
struct Shape {
  // Warps that multiply. With two teams, which take turns with units, one's waiting is the other's time; but each
  // thread has fewer registers.
  static constexpr int kTeams = kTeamCount;
  static constexpr int kTeamWarps = kSkinnyWarps;
  static constexpr int kConsumers = kTeams * kTeamWarps;
  static constexpr int kMaxRows = 8 * kColumnTiles;
  // Two more have stages filled: with weights, and with inputs (skinny_inputs.cuh: its lanes ask for those of few
  // rows).
  static constexpr int kFillers = 2;
  static constexpr bool kFeeds = kMaxRows <= kFedRows;
  // Rows whose sums have room. Warps of their own end their tiles, or the first team's.
  static constexpr int kRoom = kRowRoom;
  using Meets = Meeting<kTeams * kWarpsK, kRoom>;
  static constexpr bool kApart = Meets::kApart;
  static constexpr int kFinishers = kApart ? kRoom : kTeamWarps;
  static constexpr int kThreads = (kConsumers + kFillers + (kApart ? kFinishers : 0)) * 32;
  static constexpr int kBoxes = Format::kStageInputs / (Format::kFixed ? kFixedBoxInputs : kBoxInputs);
  static constexpr int kBoxBytes = kMaxRows * kBoxRowBytes;
  static constexpr int kActivationBytes = kBoxes * kBoxBytes;
  static constexpr int kScaleBytes = Format::kStageGroups * kSkinnyTile;
  static constexpr int kInputGroups = Format::kFixed ? Format::kStageInputs / kFixedGroup : 0;
  static constexpr int kInputScaleBytes = kInputGroups * kFixedRows * static_cast<int>(sizeof(float));
  static constexpr int kInputBytes = kActivationBytes + kInputScaleBytes;
  // Swizzled boxes begin at multiples of 1024 bytes.
  static constexpr int kAlign = 1024;
  static constexpr int kStageBytes = (kWeightBytes + kInputBytes + kScaleBytes + kAlign - 1) / kAlign * kAlign;
  static constexpr int kSumBytes = Meets::kBytes;
  static constexpr int kBarrierBytes = 2 * kMostStages * 8;
  // All that so many threads can have, as the warps of a quarter of a multiprocessor share 16,384; but one team of few
  // rows leaves some to small kernels that begin beside it.
  static constexpr int kRegisters = kTeams > 1 ? 96 : kColumnTiles > 1 ? 168 : 136;
  // Those small kernels have the rest.
  static constexpr int kBudget = (kTeams > 1 ? 227 : 216) * 1024 - kSumBytes - kBarrierBytes - Format::kTableBytes;
  // Every stage is one team's. (Of another's, a warp would not know how often it has been full.)
  static constexpr int kStages = std::min(kBudget / kStageBytes, kMostStages) / kTeams * kTeams;
  static constexpr int kSharedBytes = Format::kTableBytes + kStages * kStageBytes + kSumBytes + kBarrierBytes;
  // One block fills a multiprocessor's shared memory. Were there room for two, a launch that begins early would put two
  // where a block of the one before has ended and none where one has not.
  static_assert(kStages >= 3 && kSharedBytes > 114 * 1024 && kSharedBytes <= 227 * 1024);
  static_assert(kWarpsK * Format::kBlocks * 32 == Format::kStageInputs);
  static_assert(Format::kTableBytes % kAlign == 0 && Format::kStageInputs % kBoxInputs == 0);
};

/// The block's shared memory.
template <class Format, class S>
struct SharedParts {
  unsigned char* table;
  unsigned char* ring;
  typename S::Meets meeting;
  CopyBarrier* full;   // [kStages]: the stage's bytes are there
  CopyBarrier* empty;  // [kStages]: all warps are done with it

  __device__ SharedParts(unsigned char* memory, int rows)
      : table(memory),
        ring(table + Format::kTableBytes),
        meeting(ring + S::kStages * S::kStageBytes, min(rows, S::kFinishers)),
        full(reinterpret_cast<CopyBarrier*>(ring + S::kStages * S::kStageBytes + S::kSumBytes)),
        empty(full + S::kStages) {}
  /// By one thread, before others use them.
  __device__ void start_barriers() const {
    for (int i = 0; i < S::kStages; ++i) {
      full[i].start(1 + (S::kFeeds ? 32 : 1));
      empty[i].start(S::kTeamWarps);
    }
    meeting.start();
    publish_barriers();
  }
};

/// What a thread has of a stage: outputs [32 out, 32 out + 32) of half k of its inputs, of which rows row + 8 i and, in
/// each k32 block, inputs 8 t .. 8 t + 7.
struct StagePlace {
  int out;
  int k;
  int row;
  int t;

  __device__ StagePlace() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32 % kSkinnyWarps;  // of the team
    out = warp % kWarpsOut;
    k = warp / kWarpsOut;
    row = row_of(lane / 4);
    t = lane % 4;
  }
  /// Of the first row's codes in a stage, piece i of a BytesFormat.
  template <class Format>
  __device__ int offset(int i) const {
    return (out * 32 + row) * kStageRowBytes + Format::piece_offset(row, k, t, i);
  }
  /// Codes of the four rows.
  template <class Format>
  __device__ void read(const unsigned char* stage, typename Format::Raw (&raw)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      raw[i] = Format::read(stage + (out * 32 + 8 * i + row) * kStageRowBytes, row, k, t);
    }
  }
};

}  // namespace bamba::backend::cuda::skinny
