// The warp of a block of a skinny product that has inputs brought to its stages.
//
// Inputs of up to kFedRows rows are asked for by the warp's lanes, 16 bytes each: what the copy engine was asked for
// comes behind the weights that it was asked for before, and those fill memory's queues. More rows would be many such
// copies, and take little of a product's time: the copy engine brings them.
#pragma once

#include "backend/cuda/async_copy.cuh"
#include "backend/cuda/skinny_ring.cuh"

namespace bamba::backend::cuda::skinny {

/// The chunks of 16 bytes of a unit's inputs that a lane brings.
template <class Format, class S>
class InputChunks {
  static constexpr int kElementBytes = Format::kFixed ? 1 : 2;
  static constexpr int kUnitBytes = Format::kStageInputs * kElementBytes;  // of a row; of fixed point of either half
  static constexpr int kBoxChunks = kBoxRowBytes / 16;
  static constexpr int kHalves = Format::kFixed ? 2 : 1;
  static constexpr int kRowChunks = S::kBoxes * kHalves * kBoxChunks;
  static constexpr int kEach = (S::kRoom * kRowChunks + 31) / 32;
  static constexpr int kScaleBytes = S::kInputGroups * static_cast<int>(sizeof(float));  // of a row
  static constexpr int kScaleChunks = kScaleBytes / 16;
  static_assert(kScaleBytes % 16 == 0);

 public:
  __device__ InputChunks(const SkinnyParams& p, const unsigned char* stages, int lane) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int each = lane + 32 * i;
      const int row = each / kRowChunks;
      const int half = each / kBoxChunks % kHalves;
      const int box = each / (kBoxChunks * kHalves) % S::kBoxes;
      const int chunk = each % kBoxChunks;
      const int at = box * kBoxRowBytes + chunk * 16;
      const int line = row + half * kFixedRows;
      from_[i] = p.in + row * p.in_stride_bytes + half * p.in_half_bytes + at;
      to_[i] =
          shared_address(stages + kWeightBytes + box * S::kBoxBytes + line * kBoxRowBytes + (chunk ^ line % 8) * 16);
      left_[i] = row < p.rows ? p.inputs * kElementBytes - at : kNoRow;
    }
    if constexpr (kScaleChunks > 0) {
      const int row = lane / kScaleChunks;
      const int at = lane % kScaleChunks * 16;
      scales_from_ = p.in_scales + row * p.in_scale_stride_bytes + at;
      scales_to_ = shared_address(stages + kWeightBytes + S::kActivationBytes + S::kScaleBytes + lane * 16);
      scales_left_ = row < p.rows ? p.inputs / kFixedGroup * static_cast<int>(sizeof(float)) - at : kNoRow;
    }
  }

  /// Of the unit's inputs, to the stage. Behind a row's end there are zeros.
  __device__ void copy(int chunk, int stage) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      copy(to_[i] + stage * S::kStageBytes, from_[i], chunk * kUnitBytes, left_[i]);
    }
    if constexpr (kScaleChunks > 0) {
      copy(scales_to_ + stage * S::kStageBytes, scales_from_, chunk * kScaleBytes, scales_left_);
    }
  }

 private:
  static constexpr int kNoRow = -1;

  static __device__ void copy(uint32_t to, const unsigned char* from, int offset, int left) {
    if (left != kNoRow) copy_16_bytes(to, from + offset, offset < left);
  }

  const unsigned char* from_[kEach];
  uint32_t to_[kEach];
  int left_[kEach];  // bytes up to the row's end
  const unsigned char* scales_from_;
  uint32_t scales_to_;
  int scales_left_;
};

/// For a whole warp: waits for the kernels before this one.
template <class Format, class S>
__device__ void copy_inputs(const SkinnyParams& p, const SharedParts<Format, S>& shared, int begin, int end) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (S::kFeeds) {
    const InputChunks<Format, S> chunks(p, shared.ring, lane);
    wait_for_previous();
    for_each_unit<S>(p, shared, begin, end, [&](const Cursor& at) {
      chunks.copy(at.chunk, at.stage);
      arrive_when_copied(shared.full[at.stage]);
    });
  } else {
    wait_for_previous();
    if (lane != 0) return;
    for_each_unit<S>(p, shared, begin, end, [&](const Cursor& at) {
      CopyBarrier& full = shared.full[at.stage];
      full.arrive_and_expect(S::kInputBytes);
      unsigned char* const to = shared.ring + at.stage * S::kStageBytes + kWeightBytes;
#pragma unroll
      for (int box = 0; box < S::kBoxes; ++box) {
        copy_box(to + box * S::kBoxBytes, p.in_boxes, at.chunk * Format::kStageInputs + box * kBoxInputs, 0, full);
      }
    });
  }
}

/// Zeros in place of rows that are not there, for who reads them (FixedMultiplier); by the whole block, before the
/// stages are used.
template <class Format, class S>
__device__ inline void clear_missing_rows(unsigned char* stages) {
  if constexpr (Format::kFixed && S::kRoom < kFixedRows) {
    constexpr int kLineChunks = kBoxRowBytes / 16;
    for (int i = static_cast<int>(threadIdx.x); i < S::kStages * S::kBoxes * 2 * kLineChunks; i += S::kThreads) {
      const int half = i / kLineChunks % 2;
      const int box = i / (2 * kLineChunks);
      unsigned char* const at =
          stages + box / S::kBoxes * S::kStageBytes + kWeightBytes + box % S::kBoxes * S::kBoxBytes;
      const int line = (1 + half) * kFixedRows - 1;
      *reinterpret_cast<uint4*>(at + line * kBoxRowBytes + i % kLineChunks * 16) = make_uint4(0, 0, 0, 0);
    }
  }
}

}  // namespace bamba::backend::cuda::skinny
