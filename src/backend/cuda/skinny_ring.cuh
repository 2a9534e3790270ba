// How the stages of a block of a skinny product are filled, unit by unit; and with weights.
#pragma once

#include "backend/cuda/bulk_copy.cuh"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/skinny_shape.cuh"

namespace bamba::backend::cuda::skinny {

/// A unit and the stage that it goes to.
struct Cursor {
  int tile;
  int chunk;
  int stage = 0;
  int phase = 0;  // of the stage's barriers
};

/// function(unit) for units [begin, end), each when its stage is free.
template <class S, class Shared, typename Function>
__device__ void for_each_unit(const SkinnyParams& p, const Shared& shared, int begin, int end, Function function) {
  const int chunks = p.plan.chunks;
  Cursor at{begin / chunks, begin % chunks};
#pragma unroll 1
  for (int unit = begin; unit < end; ++unit) {
    // At once in the first round: the phase before a barrier's first counts as ended.
    shared.empty[at.stage].wait(at.phase ^ 1);
    function(at);
    if (++at.stage == S::kStages) {
      at.stage = 0;
      at.phase ^= 1;
    }
    if (++at.chunk == chunks) {
      at.chunk = 0;
      ++at.tile;
    }
  }
}

/// For a lane. Weights are nobody's to write: they can come while the kernel before this one runs.
template <class Format, class S, SkinnyEnd kEnd>
class WeightFiller {
 public:
  __device__ WeightFiller(const SkinnyParams& params, const SharedParts<Format, S>& shared)
      : p_(params), shared_(shared) {}

  __device__ void copy(int begin, int end) const {
    for_each_unit<S>(p_, shared_, begin, end, [&](const Cursor& at) {
      shared_.full[at.stage].arrive_and_expect(kWeightBytes + S::kScaleBytes);
      copy_unit(at);
      if (at.chunk == 0) prefetch_end(at);
    });
  }

 private:
  static constexpr int kHalves = kEnd == SkinnyEnd::gated ? 2 : 1;

  /// Codes of each half of the tile, scales of each.
  __device__ void copy_unit(const Cursor& at) const {
    const CopyBarrier& full = shared_.full[at.stage];
    unsigned char* const to = shared_.ring + at.stage * S::kStageBytes;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      copy_box(to + half * kWeightBytes / kHalves, part(at, half).codes, at.chunk * kStageRowBytes,
               first_output(at, half), full);
    }
    if constexpr (Format::kStageGroups > 0) {
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        copy_box(to + kWeightBytes + S::kActivationBytes + half * S::kScaleBytes / kHalves, part(at, half).group_scales,
                 first_output(at, half), at.chunk * Format::kStageGroups, full);
      }
    }
  }

  __device__ const SkinnyPart& part(const Cursor& at, int half) const {
    return kHalves > 1 ? p_.parts[half] : part_of<kEnd>(p_, at.tile);
  }
  /// The tile's first output, of the part.
  __device__ int first_output(const Cursor& at, int half) const {
    return (at.tile - part(at, half).first_tile) * (kSkinnyTile / kHalves);
  }
  /// What the tile's end asks for comes nearer while the tile is computed, if the block has its beginning and so its
  /// end.
  __device__ void prefetch_end(const Cursor& at) const {
    for (int half = 0; half < kHalves; ++half) {
      const SkinnyPart& own = part(at, half);
      const int begin = first_output(at, half);
      const int end = min(begin + kSkinnyTile / kHalves, own.outputs);
      for (int o = begin; o < end; o += 32) {
        if (own.row_scales != nullptr) prefetch_line_to_l2(own.row_scales + o);
        if constexpr (kEnd == SkinnyEnd::norm) prefetch_line_to_l2(p_.norm.weight + o);
      }
    }
  }

  const SkinnyParams& p_;
  const SharedParts<Format, S>& shared_;
};

}  // namespace bamba::backend::cuda::skinny
