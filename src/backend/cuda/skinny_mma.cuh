// The tensor-core kernel of skinny products, for any weight format.
//
// The weight is the matrix that is cut into 16 x 16 fragments (m16n8k16), the activations' rows are the 8 columns: the
// cost of mma is that of 8 rows even for one, and still a small part of what memory takes.
//
// A block takes a run of units (plan_skinny); its ring of stages is filled by cp.async and runs on from tile to tile,
// so that the memory never waits for an epilogue. A stage holds 128 bytes of each of the tile's 128 outputs, the
// activations of those inputs, and group scales. Four warps side by side cover the outputs, 32 each; kWarpsK such rows
// of warps share a stage's inputs, and their sums meet in shared memory at the tile's end, in fixed order.
//
// Inside a k32 block a thread takes inputs 8 t .. 8 t + 7 (t = lane % 4) of rows g and g + 8 (g = lane / 4), where the
// instruction's own order would be 2 t, 2 t + 1, 2 t + 8, ...: the sum over inputs does not mind, as long as both
// operands agree, and each thread reads 16 consecutive bytes.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/skinny_finish.cuh"
#include "backend/cuda/skinny_mma.h"

namespace bamba::backend::cuda::skinny {

constexpr int kStageRowBytes = 128;  // of codes
constexpr int kWeightBytes = kSkinnyTile * kStageRowBytes;
constexpr int kMostStages = 8;         // where stages come with their activations
constexpr int kMostWeightStages = 12;  // where weights come first

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
/// 16 bytes from memory, or zeros without looking there. A first miss of 128 bytes brings 256 to L2: longer visits to
/// each of DRAM's rows.
__device__ inline void copy_weights(unsigned char* to, const void* from, bool there) {
  asm volatile(
      "{ .reg .pred absent; setp.eq.s32 absent, %2, 0; cp.async.cg.shared.global.L2::256B [%0], [%1], 16, absent; }" ::
          "r"(shared_address(to)),
      "l"(from), "r"(static_cast<int>(there))
      : "memory");
}
__device__ inline void copy_16(unsigned char* to, const void* from, bool there) {
  asm volatile(
      "{ .reg .pred absent; setp.eq.s32 absent, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, absent; }" ::"r"(
          shared_address(to)),
      "l"(from), "r"(static_cast<int>(there))
      : "memory");
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;");
}
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
/// d = a * b + c: a 16 x 16 (weights), b 16 x 8 (activations).
__device__ inline void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1,
                           const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

/// 16-byte chunk of an activation row where chunk `c` lies: even and odd rows use different halves of the banks.
__device__ inline int activation_chunk(int row, int c) {
  return c ^ ((row & 1) << 2);
}

// What a weight format provides:
//   kWarpsK             rows of warps that share a stage's inputs
//   kStageInputs        inputs of a stage
//   kBlocks             k32 blocks of a warp in a stage; kWarpsK * kBlocks * 32 == kStageInputs
//   kStageGroups        groups of scales in a stage, or 0
//   kTableBytes         shared memory for a table, filled by fill_table(table)
//   kFolds              sums of a k32 block are multiplied by factors() before they join the total
//   chunk(row, c)       where the row's 16-byte chunk c lies
//   Raw, read(...)      a thread's codes of one row
//   decode(...)         the fragment [4] of a k32 block, bf16 pairs in order
//   factors(...)        of rows g, g + 8, g + 16, g + 24 of the warp's outputs
template <class Format, int kColumnTiles>
struct Shape {
  static constexpr int kThreads = kWarpsOut * Format::kWarpsK * 32;
  static constexpr int kMaxRows = 8 * kColumnTiles;
  static constexpr int kActivationRowBytes = Format::kStageInputs * 2;
  static constexpr int kActivationBytes = kMaxRows * kActivationRowBytes;
  static constexpr int kScaleBytes = Format::kStageGroups * kSkinnyTile;
  static constexpr int kStageBytes = kWeightBytes + kActivationBytes + kScaleBytes;
  static constexpr int kSumBytes = Meeting<Format::kWarpsK, kMaxRows>::kBytes;
  // With half of the registers, where that is enough (sums that are folded need more), small kernels begin beside this
  // one. They may when its last loads are under way: any sooner, and the states that they bring to L2 are gone again
  // when their turn comes. Otherwise a kernel begins where a block of this one has ended, and may as soon as that is
  // so.
  static constexpr bool kSharesRegisters = kColumnTiles == 1 && !Format::kFolds;
  static constexpr bool kWeightsFirst = kColumnTiles == 1;
  static constexpr int kBudget = 200 * 1024 - kSumBytes - Format::kTableBytes;
  static constexpr int kMost = kWeightsFirst ? kMostWeightStages : kMostStages;
  static constexpr int kStages = kBudget / kStageBytes < kMost ? kBudget / kStageBytes : kMost;
  static constexpr int kSharedBytes = Format::kTableBytes + kStages * kStageBytes + kSumBytes;
  // One block fills a multiprocessor's shared memory. Were there room for two, a launch that begins early would put two
  // where a block of the one before has ended and none where one has not.
  static_assert(kStages >= 3 && kSharedBytes > 114 * 1024 && kSharedBytes <= 227 * 1024);
  static_assert(Format::kWarpsK * Format::kBlocks * 32 == Format::kStageInputs);
};

/// A thread's part in filling stages: its places of the next unit, moved on by additions. What lies past the last
/// output or input becomes zeros.
template <class Format, class S>
class Loader {
 public:
  static constexpr int kWeightRows = S::kThreads / 8;  // at once
  static constexpr int kRowChunks = S::kActivationRowBytes / 16;
  static constexpr int kActivationRows = S::kThreads / kRowChunks;
  static constexpr int kActivationRounds = (S::kMaxRows + kActivationRows - 1) / kActivationRows;
  static_assert(kWeightRows % 8 == 0 && kActivationRows % 2 == 0, "or swizzles would differ from round to round");
  static_assert(S::kScaleBytes / 16 <= S::kThreads);

  __device__ Loader(const SkinnyParams& params, int unit)
      : p_(params), tile_(unit / params.plan.chunks), chunk_(unit % params.plan.chunks) {
    const int row = thread() / 8;
    const int c = thread() % 8;
    weight_target_ = row * kStageRowBytes + Format::chunk(row, c) * 16;
    const int activation_row = thread() / kRowChunks;
    const int activation_c = thread() % kRowChunks;
    activation_target_ =
        kWeightBytes + activation_row * S::kActivationRowBytes + activation_chunk(activation_row, activation_c) * 16;
    go_to(tile_, chunk_);
  }

  __device__ void load(unsigned char* stage) {
    load_weights(stage);
#pragma unroll
    for (int i = 0; i < kActivationRounds; ++i) {
      if (thread() / kRowChunks + i * kActivationRows < p_.rows) {
        copy_16(stage + activation_target_ + i * kActivationRows * S::kActivationRowBytes,
                activations_ + i * kActivationRows * p_.in_stride, inputs_left_ > 0);
      }
    }
    go_on();
  }
  /// A stage without its activations, which are another kernel's to write.
  __device__ void load_weights_only(unsigned char* stage) {
    load_weights(stage);
    go_on();
  }
  /// The activations of the first `count` stages, the block's units from `unit` on: through registers, so that the
  /// copies of weights that came before need not be over.
  __device__ void load_activations(unsigned char* ring, int unit, int count) const {
    static_assert(kActivationRounds == 1);
    constexpr int kAtOnce = 4;
    const int row = thread() / kRowChunks;
    const int c = thread() % kRowChunks;
    if (row >= p_.rows || row >= S::kMaxRows) return;
    const __nv_bfloat16* from = p_.in + row * p_.in_stride + c * 8;
    for (int first = 0; first < count; first += kAtOnce) {
      uint4 values[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int input = (unit + first + i) % p_.plan.chunks * Format::kStageInputs;
        const bool there = first + i < count && input + c * 8 < p_.inputs;
        values[i] = there ? __ldcg(reinterpret_cast<const uint4*>(from + input)) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i < count) {
          *reinterpret_cast<uint4*>(ring + (first + i) * S::kStageBytes + activation_target_) = values[i];
        }
      }
    }
  }

 private:
  __device__ void load_weights(unsigned char* stage) {
#pragma unroll
    for (int i = 0; i < kSkinnyTile / kWeightRows; ++i) {
      copy_weights(stage + weight_target_ + i * kWeightRows * kStageRowBytes, weights_ + i * kWeightRows * pitch_,
                   bytes_left_ > 0 && i * kWeightRows < outputs_left_);
    }
    if constexpr (Format::kStageGroups > 0) {
      if (thread() < S::kScaleBytes / 16) {
        copy_16(stage + kWeightBytes + S::kActivationBytes + thread() * 16, scales_, groups_left_ > 0);
      }
    }
  }
  __device__ void go_on() {
    if (++chunk_ == p_.plan.chunks) {
      chunk_ = 0;
      ++tile_;
      go_to(tile_, chunk_);
      return;
    }
    weights_ += kStageRowBytes;
    bytes_left_ -= kStageRowBytes;
    activations_ += Format::kStageInputs;
    inputs_left_ -= Format::kStageInputs;
    scales_ += Format::kStageGroups * scale_pitch_;
    groups_left_ -= Format::kStageGroups;
  }
  __device__ static int thread() {
    return static_cast<int>(threadIdx.x);
  }
  __device__ void go_to(int tile, int chunk) {
    const SkinnyPart& part = part_of(p_, tile);
    tile -= part.first_tile;
    const int byte = chunk * kStageRowBytes + thread() % 8 * 16;
    pitch_ = part.pitch;
    weights_ = part.codes + (int64_t{tile} * kSkinnyTile + thread() / 8) * pitch_ + byte;
    bytes_left_ = p_.row_bytes - byte;
    outputs_left_ = part.outputs - tile * kSkinnyTile - thread() / 8;
    const int input = chunk * Format::kStageInputs + thread() % kRowChunks * 8;
    activations_ = p_.in + thread() / kRowChunks * p_.in_stride + input;
    inputs_left_ = p_.inputs - input;
    if constexpr (Format::kStageGroups > 0) {
      const int group = chunk * Format::kStageGroups + thread() / 8;
      scale_pitch_ = part.group_scale_pitch;
      scales_ = part.group_scales + group * scale_pitch_ + tile * kSkinnyTile + thread() % 8 * 16;
      groups_left_ = p_.groups - group;
    }
    // What the tile's end asks for comes nearer while the tile is computed.
    if (part.row_scales != nullptr && thread() < kSkinnyTile / 32 &&
        tile * kSkinnyTile + thread() * 32 < part.outputs) {
      prefetch_line_to_l2(part.row_scales + tile * kSkinnyTile + thread() * 32);
    }
  }

  const SkinnyParams& p_;
  int tile_;
  int chunk_;
  int weight_target_;
  int activation_target_;
  const unsigned char* weights_;
  const __nv_bfloat16* activations_;
  const int8_t* scales_;
  int64_t pitch_;
  int64_t scale_pitch_;
  int bytes_left_;
  int outputs_left_;
  int inputs_left_;
  int groups_left_;
};

template <class Format, int kColumnTiles>
__device__ inline void multiply_stage(const SkinnyParams& p, const unsigned char* stage, const unsigned char* table,
                                      int tile, int chunk, Sums<kColumnTiles>& sums) {
  using S = Shape<Format, kColumnTiles>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_out = warp % kWarpsOut;
  const int warp_k = warp / kWarpsOut;
  const int g = lane / 4;
  const int t = lane % 4;
  const unsigned char* activations = stage + kWeightBytes;
  const unsigned char* scales = activations + S::kActivationBytes;

  typename Format::Raw raw[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) raw[i] = Format::read(stage, warp_out * 32 + 8 * i + g, warp_k, t);
#pragma unroll(kColumnTiles == 4 ? 1 : Format::kBlocks)  // two blocks at once would not fit the registers
  for (int b = 0; b < Format::kBlocks; ++b) {
    const int block = warp_k * Format::kBlocks + b;
    uint4 columns[kColumnTiles];
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      const int row = 8 * n + g;
      columns[n] = *reinterpret_cast<const uint4*>(activations + row * S::kActivationRowBytes +
                                                   activation_chunk(row, 4 * block + t) * 16);
    }
    float factors[4];
    if constexpr (Format::kFolds) Format::factors(p, scales, warp_out, g, block, tile, chunk, factors);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      uint32_t low[4];
      uint32_t high[4];
      Format::decode(raw[2 * m], b, table, low);
      Format::decode(raw[2 * m + 1], b, table, high);
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        float(&total)[4] = sums.value[m][n];
        if constexpr (Format::kFolds) {
          const float zero[4] = {0, 0, 0, 0};
          float part[4];
          mma(part, low[0], high[0], low[1], high[1], columns[n].x, columns[n].y, zero);
          mma(part, low[2], high[2], low[3], high[3], columns[n].z, columns[n].w, part);
          total[0] = fmaf(part[0], factors[2 * m], total[0]);
          total[1] = fmaf(part[1], factors[2 * m], total[1]);
          total[2] = fmaf(part[2], factors[2 * m + 1], total[2]);
          total[3] = fmaf(part[3], factors[2 * m + 1], total[3]);
        } else {
          mma(total, low[0], high[0], low[1], high[1], columns[n].x, columns[n].y, total);
          mma(total, low[2], high[2], low[3], high[3], columns[n].z, columns[n].w, total);
        }
      }
    }
  }
}

/// Units [begin, end) on their way to L2.
template <class Format, class S>
__device__ inline void fetch_ahead(const SkinnyParams& p, int begin, int end) {
  const int thread = static_cast<int>(threadIdx.x);
  const int chunks = p.plan.chunks;
  for (int unit = begin; unit < end;) {
    const int tile = unit / chunks;
    const int chunk = unit % chunks;
    const int count = min(end - unit, chunks - chunk);
    const SkinnyPart& part = part_of(p, tile);
    const int64_t first = int64_t{tile - part.first_tile} * kSkinnyTile;
    const int byte = chunk * kStageRowBytes;
    const int bytes = min(count * kStageRowBytes, p.row_bytes - byte);
    if (thread < kSkinnyTile && first + thread < part.outputs) {
      prefetch_to_l2(part.codes + (first + thread) * part.pitch + byte, bytes);
    }
    if constexpr (Format::kStageGroups > 0) {
      const int group = chunk * Format::kStageGroups;
      const int groups = min(count * Format::kStageGroups, p.groups - group);
      for (int i = thread; i < groups; i += S::kThreads) {
        prefetch_to_l2(part.group_scales + (group + i) * part.group_scale_pitch + first, kSkinnyTile);
      }
    }
    unit += count;
  }
}

template <class Format, int kColumnTiles>
__global__ void __launch_bounds__(Shape<Format, kColumnTiles>::kThreads,
                                  Shape<Format, kColumnTiles>::kSharesRegisters ? 2 : 1)
    skinny_mma_kernel(const __grid_constant__ SkinnyParams p) {
  using S = Shape<Format, kColumnTiles>;
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* table = shared;
  unsigned char* ring = shared + Format::kTableBytes;
  unsigned char* ring_end = ring + S::kStages * S::kStageBytes;
  auto* meeting = reinterpret_cast<float*>(ring_end);
  const int chunks = p.plan.chunks;
  const int begin = static_cast<int>(blockIdx.x) * p.plan.per_block;
  const int end = min(begin + p.plan.per_block, p.plan.tiles * chunks);

  if (!S::kSharesRegisters) let_next_begin();
  // Weights are nobody's to write: with few rows the whole ring is filled while the kernel before this one runs. With
  // more, activations fill too much of a stage to come by another way, and weights only get as far as L2.
  Loader<Format, S> loader(p, begin);
  int to_load = end - begin;
  unsigned char* next_stage = ring;
  const int first_stages = min(to_load, S::kStages - 1);
  if constexpr (S::kWeightsFirst) {
#pragma unroll 1
    for (int i = 0; i < S::kStages - 1; ++i) {
      if (i < first_stages) loader.load_weights_only(ring + i * S::kStageBytes);
      commit_copies();
    }
    to_load -= S::kStages - 1;
    next_stage = ring + (S::kStages - 1) * S::kStageBytes;
  } else if (p.prefetch) {
    fetch_ahead<Format, S>(p, begin, min(end, begin + S::kStages));
  }
  if constexpr (Format::kTableBytes > 0) Format::fill_table(table, static_cast<int>(threadIdx.x), S::kThreads);
  wait_for_previous();

  bool let_begin = false;
  // Commits a group in any case: what is waited for is counted in groups.
  const auto load_next = [&] {
    if (S::kSharesRegisters && to_load <= 0 && !let_begin) {
      let_next_begin();
      let_begin = true;
    }
    if (to_load > 0) {
      loader.load(next_stage);
      next_stage = next_stage + S::kStageBytes == ring_end ? ring : next_stage + S::kStageBytes;
    }
    --to_load;
    commit_copies();
  };
  if constexpr (S::kWeightsFirst) {
    loader.load_activations(ring, begin, first_stages);
  } else {
#pragma unroll 1
    for (int i = 0; i < S::kStages - 1; ++i) load_next();
  }

  Sums<kColumnTiles> sums;
  sums.clear();
  int tile = begin / chunks;
  int chunk = begin % chunks;
  unsigned char* stage = ring;
  for (int unit = begin; unit < end; ++unit) {
    wait_for_copies<S::kStages - 2>();
    __syncthreads();  // this stage is there for all, and all are done with the one that is filled next
    load_next();
    multiply_stage<Format, kColumnTiles>(p, stage, table, tile, chunk, sums);
    stage = stage + S::kStageBytes == ring_end ? ring : stage + S::kStageBytes;
    ++chunk;
    if (chunk == chunks || unit + 1 == end) {
      finish_tile<Format::kWarpsK, kColumnTiles>(p, tile, meeting, sums);
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
  launch_kernel(stream, kernel, static_cast<unsigned>(params.plan.blocks), S::kThreads, S::kSharedBytes,
                params.prefetch, params);
}

template <class Format>
void launch_for_rows(cudaStream_t stream, SkinnyParams params, int multiprocessors) {
  params.plan = plan_skinny(params.tiles, params.inputs, Format::kStageInputs, multiprocessors);
  if (params.rows <= 8) {
    launch<Format, 1>(stream, params);
  } else if (params.rows <= 16) {
    launch<Format, 2>(stream, params);
  } else {
    launch<Format, 4>(stream, params);
  }
}

}  // namespace bamba::backend::cuda::skinny
