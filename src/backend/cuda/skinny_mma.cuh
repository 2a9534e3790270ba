// The tensor-core kernel of skinny products, for any weight format.
//
// The weight is the matrix that is cut into 16 x 16 fragments (m16n8k16), the activations' rows are the 8 columns: the
// cost of mma is that of 8 rows even for one, and still a small part of what memory takes.
//
// A block takes a run of units (plan_skinny) and a ring of stages, one unit each: 128 bytes of each of the tile's 128
// outputs, the activations of those inputs, and group scales. One warp has the copy engine fill stages, and runs on
// from tile to tile and through the ends of tiles, so that memory never waits for them. The other warps multiply, each
// at its own pace: a barrier in shared memory says of each stage that it is full, another that all are done with it.
// Four warps side by side cover the outputs, 32 each; two such rows of warps share a stage's inputs, and their sums
// meet in shared memory at the tile's end, in fixed order.
//
// Rows lie in a stage as the copy engine puts them, 16-byte chunk c of row r at c ^ (r % 8). A fragment's index g
// (= lane / 4) stands for row_of(g), so that whichever lanes read together find their chunks in different banks.
//
// Inside a k32 block a thread takes inputs 8 t .. 8 t + 7 (t = lane % 4) of rows g and g + 8, where the instruction's
// own order would be 2 t, 2 t + 1, 2 t + 8, ...: the sum over inputs does not mind, as long as both operands agree, and
// each thread reads 16 consecutive bytes.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/bulk_copy.cuh"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/skinny_finish.cuh"
#include "backend/cuda/skinny_mma.h"

namespace bamba::backend::cuda::skinny {

constexpr int kWeightBytes = kSkinnyTile * kStageRowBytes;
constexpr int kMostStages = 12;
constexpr int kBoxRowBytes = kBoxInputs * 2;

/// d = a * b + c: a 16 x 16 (weights), b 16 x 8 (activations).
__device__ inline void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1,
                           const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// What a weight format provides:
//   kStageInputs        inputs of a stage
//   kBlocks             k32 blocks of a warp in a stage; kWarpsK * kBlocks * 32 == kStageInputs
//   kStageGroups        groups of scales in a stage, or 0
//   kTableBytes         shared memory for a table, filled by fill_table(table)
//   kFolds              sums of kFoldBlocks blocks are multiplied by factors() before they join the total
//   Raw, read(...)      a thread's codes of one row
//   decode(...)         the fragment [4] of a k32 block, bf16 pairs in order
//   factors(...)        of fragment rows g, g + 8, g + 16, g + 24 of the warp's outputs
template <class Format, int kColumnTiles>
struct Shape {
  static constexpr int kConsumers = kWarpsOut * kWarpsK;  // warps
  static constexpr int kThreads = (kConsumers + 1) * 32;
  static constexpr int kMaxRows = 8 * kColumnTiles;
  static constexpr int kBoxes = Format::kStageInputs / kBoxInputs;
  static constexpr int kBoxBytes = kMaxRows * kBoxRowBytes;
  static constexpr int kActivationBytes = kBoxes * kBoxBytes;
  static constexpr int kScaleBytes = Format::kStageGroups * kSkinnyTile;
  // Swizzled boxes begin at multiples of 1024 bytes.
  static constexpr int kAlign = 1024;
  static constexpr int kStageBytes = (kWeightBytes + kActivationBytes + kScaleBytes + kAlign - 1) / kAlign * kAlign;
  static constexpr int kSumBytes = Meeting<kMaxRows>::kBytes;
  static constexpr int kBarrierBytes = 2 * kMostStages * 8 + 16;
  // With few rows so many that small kernels, a scan's above all, begin beside this one; where codes are looked up, a
  // few more pay. Otherwise all that a block of this size can have.
  static constexpr int kRegisters = kColumnTiles > 1 ? 168 : Format::kTableBytes > 0 ? 136 : 96;
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
  bool* is_last;
  CopyBarrier* full;   // [kStages]: the stage's bytes are there
  CopyBarrier* empty;  // [kStages]: all warps are done with it

  __device__ explicit SharedParts(unsigned char* memory) {
    table = memory;
    ring = table + Format::kTableBytes;
    unsigned char* ring_end = ring + S::kStages * S::kStageBytes;
    meeting = reinterpret_cast<float*>(ring_end);
    full = reinterpret_cast<CopyBarrier*>(ring_end + S::kSumBytes);
    empty = full + S::kStages;
    is_last = reinterpret_cast<bool*>(empty + S::kStages);
  }
};

/// The warp that has stages filled: its first lane does, unit by unit.
template <class Format, class S>
class Filler {
 public:
  __device__ Filler(const SkinnyParams& params, const SharedParts<Format, S>& shared, int begin, int end)
      : p_(params), shared_(shared), begin_(begin), end_(end) {}

  /// Weights are nobody's to write: they fill the ring while the kernel before this one runs.
  __device__ void begin() {
    for (int i = 0; i < S::kStages; ++i) {
      shared_.full[i].start(1);
      shared_.empty[i].start(S::kConsumers);
    }
    publish_barriers();
    prefetch_map(p_.in);
    for (int i = 0; i < first_stages(); ++i) {
      shared_.full[i].expect(kWeightBytes + S::kScaleBytes);
      copy_weights(begin_ + i, i);
    }
  }
  /// Once the kernels before this one have ended.
  __device__ void go_on() {
    for (int i = 0; i < first_stages(); ++i) {
      shared_.full[i].arrive_and_expect(S::kActivationBytes);
      copy_activations(begin_ + i, i);
    }
    int stage = 0;
    int phase = 0;
    for (int unit = begin_ + S::kStages; unit < end_; ++unit) {
      shared_.empty[stage].wait(phase);
      shared_.full[stage].arrive_and_expect(kWeightBytes + S::kScaleBytes + S::kActivationBytes);
      copy_weights(unit, stage);
      copy_activations(unit, stage);
      if (++stage == S::kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }

 private:
  __device__ int first_stages() const { return min(end_ - begin_, S::kStages); }
  __device__ void copy_weights(int unit, int stage) const {
    const int tile = unit / p_.plan.chunks;
    const int chunk = unit % p_.plan.chunks;
    const SkinnyPart& part = part_of(p_, tile);
    const int output = (tile - part.first_tile) * kSkinnyTile;
    unsigned char* to = shared_.ring + stage * S::kStageBytes;
    copy_box(to, part.codes, chunk * kStageRowBytes, output, shared_.full[stage]);
    if constexpr (Format::kStageGroups > 0) {
      copy_box(to + kWeightBytes + S::kActivationBytes, part.group_scales, output, chunk * Format::kStageGroups,
               shared_.full[stage]);
    }
    // What the tile's end asks for comes nearer while the tile is computed.
    if (part.row_scales != nullptr && (chunk == 0 || unit == begin_)) {
      for (int o = output; o < min(output + kSkinnyTile, part.outputs); o += 32) {
        prefetch_line_to_l2(part.row_scales + o);
      }
    }
  }
  __device__ void copy_activations(int unit, int stage) const {
    const int chunk = unit % p_.plan.chunks;
    unsigned char* to = shared_.ring + stage * S::kStageBytes + kWeightBytes;
#pragma unroll
    for (int box = 0; box < S::kBoxes; ++box) {
      copy_box(to + box * S::kBoxBytes, p_.in, chunk * Format::kStageInputs + box * kBoxInputs, 0, shared_.full[stage]);
    }
  }

  const SkinnyParams& p_;
  const SharedParts<Format, S>& shared_;
  int begin_;
  int end_;
};

template <class Format, int kColumnTiles>
__device__ inline void multiply_stage(const SkinnyParams& p, const unsigned char* stage, const unsigned char* table,
                                      int tile, int chunk, Sums<kColumnTiles>& sums) {
  using S = Shape<Format, kColumnTiles>;
  constexpr int kFold = Format::kFoldBlocks;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_out = warp % kWarpsOut;
  const int warp_k = warp / kWarpsOut;
  const int row_in_eight = row_of(lane / 4);
  const int t = lane % 4;
  const unsigned char* activations = stage + kWeightBytes;
  const unsigned char* scales = activations + S::kActivationBytes;

  typename Format::Raw raw[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    raw[i] = Format::read(stage + (warp_out * 32 + 8 * i + row_in_eight) * kStageRowBytes, row_in_eight, warp_k, t);
  }
#pragma unroll
  for (int first = 0; first < Format::kBlocks; first += kFold) {
    uint4 columns[kFold][kColumnTiles];
#pragma unroll
    for (int f = 0; f < kFold; ++f) {
      const int block = warp_k * Format::kBlocks + first + f;
      const unsigned char* box = activations + block / 2 * S::kBoxBytes;
      const int place = ((block % 2 * 4 + t) ^ row_in_eight) * 16;
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const int row = 8 * n + row_in_eight;
        // Rows that are not there cost no time in shared memory.
        columns[f][n] =
            row < p.rows ? *reinterpret_cast<const uint4*>(box + row * kBoxRowBytes + place) : make_uint4(0, 0, 0, 0);
      }
    }
    float factors[4];
    if constexpr (Format::kFolds) {
      const int block = warp_k * Format::kBlocks + first;
      Format::factors(p, scales, warp_out, row_in_eight, block, tile, chunk, factors);
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      float part[kColumnTiles][4] = {};
#pragma unroll
      for (int f = 0; f < kFold; ++f) {
        uint32_t low[4];
        uint32_t high[4];
        Format::decode(raw[2 * m], first + f, table, low);
        Format::decode(raw[2 * m + 1], first + f, table, high);
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          float(&sum)[4] = Format::kFolds ? part[n] : sums.value[m][n];
          mma(sum, low[0], high[0], low[1], high[1], columns[f][n].x, columns[f][n].y, sum);
          mma(sum, low[2], high[2], low[3], high[3], columns[f][n].z, columns[f][n].w, sum);
        }
      }
      if constexpr (Format::kFolds) {
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          float(&total)[4] = sums.value[m][n];
          total[0] = fmaf(part[n][0], factors[2 * m], total[0]);
          total[1] = fmaf(part[n][1], factors[2 * m], total[1]);
          total[2] = fmaf(part[n][2], factors[2 * m + 1], total[2]);
          total[3] = fmaf(part[n][3], factors[2 * m + 1], total[3]);
        }
      }
    }
  }
}

template <class Format, int kColumnTiles>
__global__ void __maxnreg__((Shape<Format, kColumnTiles>::kRegisters))
    skinny_mma_kernel(const __grid_constant__ SkinnyParams p) {
  using S = Shape<Format, kColumnTiles>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const SharedParts<Format, S> shared(memory);
  const int chunks = p.plan.chunks;
  const int begin = static_cast<int>(blockIdx.x) * p.plan.per_block;
  const int end = min(begin + p.plan.per_block, p.plan.tiles * chunks);
  const int thread = static_cast<int>(threadIdx.x);
  const bool fills = thread / 32 == S::kConsumers;

  Filler<Format, S> filler(p, shared, begin, end);
  if (fills) {
    if (thread % 32 == 0) filler.begin();
  } else if constexpr (Format::kTableBytes > 0) {
    Format::fill_table(shared.table, thread, S::kConsumers * 32);
  }
  __syncthreads();
  wait_for_previous();
  if (fills) {
    if (thread % 32 == 0) filler.go_on();
    return;
  }

  Sums<kColumnTiles> sums;
  sums.clear();
  int tile = begin / chunks;
  int chunk = begin % chunks;
  int stage = 0;
  int phase = 0;
  for (int unit = begin; unit < end; ++unit) {
    // Whoever begins early fetches from memory what L2 does not hold for long: not before all loads are under way.
    if (unit == max(begin, end - S::kStages)) let_next_begin();
    shared.full[stage].wait(phase);
    multiply_stage<Format, kColumnTiles>(p, shared.ring + stage * S::kStageBytes, shared.table, tile, chunk, sums);
    __syncwarp();
    if (thread % 32 == 0) shared.empty[stage].arrive();
    if (++stage == S::kStages) {
      stage = 0;
      phase ^= 1;
    }
    ++chunk;
    if (chunk == chunks || unit + 1 == end) {
      finish_tile<kColumnTiles>(p, tile, shared.meeting, shared.is_last, sums);
      sums.clear();
      chunk = 0;
      ++tile;
    }
  }
}

template <class Format, int kColumnTiles>
void launch(cudaStream_t stream, const SkinnyParams& params) {
  using S = Shape<Format, kColumnTiles>;
  const auto kernel = skinny_mma_kernel<Format, kColumnTiles>;
  static const bool prepared = [&] {
    BAMBA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes));
    return true;
  }();
  static_cast<void>(prepared);
  launch_kernel(stream, kernel, static_cast<unsigned>(params.plan.blocks), S::kThreads, S::kSharedBytes, params.early,
                params);
}

template <class Format>
void launch_for_rows(cudaStream_t stream, const SkinnyParams& params) {
  switch (skinny_row_room(params.rows)) {
    case 8:
      return launch<Format, 1>(stream, params);
    case 16:
      return launch<Format, 2>(stream, params);
    default:
      return launch<Format, 4>(stream, params);
  }
}

}  // namespace bamba::backend::cuda::skinny
