// The ring of stages in shared memory that a skinny product's inputs come through.
#pragma once

#include "backend/cuda/bulk_copy.cuh"
#include "backend/cuda/early_launch.cuh"
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
//   kFixed              whether inputs are 16-bit fixed point; then see skinny_fixed.cuh for what else there is
template <class Format, int kColumnTiles>
struct Shape {
  static constexpr int kConsumers = kWarpsOut * kWarpsK;  // warps
  static constexpr int kThreads = (kConsumers + 1) * 32;
  static constexpr int kMaxRows = 8 * kColumnTiles;
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
  static constexpr int kSumBytes = Meeting<kMaxRows>::kBytes;
  static constexpr int kBarrierBytes = 2 * kMostStages * 8;
  // With few rows so many that small kernels begin beside this one. Otherwise all that a block of this size can have.
  static constexpr int kRegisters = kColumnTiles > 1 ? 168 : 136;
  // Those small kernels have the rest.
  static constexpr int kBudget = 216 * 1024 - kSumBytes - kBarrierBytes - Format::kTableBytes;
  static constexpr int kStages = kBudget / kStageBytes < kMostStages ? kBudget / kStageBytes : kMostStages;
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
  float* meeting;
  CopyBarrier* full;   // [kStages]: the stage's bytes are there
  CopyBarrier* empty;  // [kStages]: all warps are done with it

  __device__ explicit SharedParts(unsigned char* memory) {
    table = memory;
    ring = table + Format::kTableBytes;
    unsigned char* ring_end = ring + S::kStages * S::kStageBytes;
    meeting = reinterpret_cast<float*>(ring_end);
    full = reinterpret_cast<CopyBarrier*>(ring_end + S::kSumBytes);
    empty = full + S::kStages;
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
    const int warp = static_cast<int>(threadIdx.x) / 32;
    out = warp % kWarpsOut;
    k = warp / kWarpsOut;
    row = row_of(lane / 4);
    t = lane % 4;
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

/// A unit of a block's run, and its stage.
struct Cursor {
  int tile;
  int chunk;
  int stage = 0;
  int phase = 0;  // of the stage's barriers

  __device__ Cursor(int unit, int chunks) : tile(unit / chunks), chunk(unit % chunks) {}
  template <int kStages>
  __device__ void advance(int chunks) {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
    if (++chunk == chunks) {
      chunk = 0;
      ++tile;
    }
  }
};

/// The warp that has stages filled: its first lane does, unit by unit. (The copy engine takes copies at the speed of
/// memory: whoever asks it for one waits.)
template <class Format, class S, SkinnyEnd kEnd>
class Filler {
 public:
  __device__ Filler(const SkinnyParams& params, const SharedParts<Format, S>& shared, int begin, int end)
      : p_(params), shared_(shared), first_(begin, params.plan.chunks), units_(min(end - begin, S::kStages)) {}

  /// Weights are nobody's to write: they fill the ring while the kernel before this one runs.
  __device__ void begin() {
    for (int i = 0; i < S::kStages; ++i) {
      shared_.full[i].start(1);
      shared_.empty[i].start(S::kConsumers);
    }
    publish_barriers();
    prefetch_map(p_.in);
    if constexpr (Format::kFixed) prefetch_map(p_.in_scales);
    Cursor at = first_;
    for (int i = 0; i < units_; ++i) {
      shared_.full[i].expect(kWeightBytes + S::kScaleBytes);
      copy_some(at, 0, kFirstInput);
      if (i == 0 && at.chunk != 0) prefetch_end(at);
      at.template advance<S::kStages>(p_.plan.chunks);
    }
  }
  /// Once the kernels before this one have ended.
  __device__ void copy_first_inputs() {
    Cursor at = first_;
    for (int i = 0; i < units_; ++i) {
      shared_.full[i].arrive_and_expect(S::kInputBytes);
      copy_some(at, kFirstInput, kCopies);
      at.template advance<S::kStages>(p_.plan.chunks);
    }
  }
  /// A unit after the first stages. Waits until the stage is free.
  __device__ void fill(const Cursor& at) {
    shared_.empty[at.stage].wait(at.phase);
    shared_.full[at.stage].arrive_and_expect(kWeightBytes + S::kScaleBytes + S::kInputBytes);
    copy_some(at, 0, kCopies);
  }

 private:
  // The copies of a stage: codes of each half, scales of each, inputs, their scales.
  static constexpr int kHalves = kEnd == SkinnyEnd::gated ? 2 : 1;
  static constexpr int kFirstInput = kHalves * (Format::kStageGroups > 0 ? 2 : 1);
  static constexpr int kCopies = kFirstInput + (Format::kFixed ? 2 : S::kBoxes);

  __device__ void copy_some(const Cursor& at, int first, int end) const {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      if (i >= first && i < end) copy(at, i);
    }
  }
  __device__ __forceinline__ void copy(const Cursor& at, int i) const {
    const CopyBarrier& full = shared_.full[at.stage];
    unsigned char* to = shared_.ring + at.stage * S::kStageBytes;
    if (i < kFirstInput) {
      const int half = i % kHalves;
      const SkinnyPart& part = kHalves > 1 ? p_.parts[half] : part_of<kEnd>(p_, at.tile);
      const int output = (at.tile - part.first_tile) * (kSkinnyTile / kHalves);
      if (i < kHalves) {
        copy_box(to + half * kWeightBytes / kHalves, part.codes, at.chunk * kStageRowBytes, output, full);
        if (i == 0 && at.chunk == 0) prefetch_end(at);
      } else {
        copy_box(to + kWeightBytes + S::kActivationBytes + half * S::kScaleBytes / kHalves, part.group_scales, output,
                 at.chunk * Format::kStageGroups, full);
      }
      return;
    }
    const int box = i - kFirstInput;
    if constexpr (!Format::kFixed) {
      copy_box(to + kWeightBytes + box * S::kBoxBytes, p_.in, at.chunk * Format::kStageInputs + box * kBoxInputs, 0,
               full);
    } else if (box == 0) {
      copy_box(to + kWeightBytes, p_.in, 0, 0, 0, at.chunk * S::kBoxes, full);
    } else {
      constexpr int kRowBytes = S::kInputGroups * static_cast<int>(sizeof(float));
      copy_box(to + kWeightBytes + S::kActivationBytes + S::kScaleBytes, p_.in_scales, at.chunk * kRowBytes, 0, full);
    }
  }
  /// What the tile's end asks for comes nearer while the tile is computed.
  __device__ void prefetch_end(const Cursor& at) const {
    for (int half = 0; half < kHalves; ++half) {
      const SkinnyPart& part = kHalves > 1 ? p_.parts[half] : part_of<kEnd>(p_, at.tile);
      const int begin = (at.tile - part.first_tile) * (kSkinnyTile / kHalves);
      const int end = min(begin + kSkinnyTile / kHalves, part.outputs);
      for (int o = begin; o < end; o += 32) {
        if (part.row_scales != nullptr) prefetch_line_to_l2(part.row_scales + o);
        if constexpr (kEnd == SkinnyEnd::norm) prefetch_line_to_l2(p_.norm.weight + o);
      }
    }
  }

  const SkinnyParams& p_;
  const SharedParts<Format, S>& shared_;
  Cursor first_;
  int units_;  // that the first stages take
};

}  // namespace bamba::backend::cuda::skinny
