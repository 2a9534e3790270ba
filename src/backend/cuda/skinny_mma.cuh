// The tensor-core kernel of skinny products, for any weight format.
//
// The weight is the matrix that is cut into 16 x 16 fragments (m16n8k16), the activations' rows are the 8 columns: the
// cost of mma is that of 8 rows even for one, and still a small part of what memory takes.
//
// A block takes a run of units (plan_skinny) and a ring of stages, one unit each: 128 bytes of each of the tile's 128
// outputs, the activations of those inputs, and group scales. One warp has stages filled with weights, one with inputs;
// they run on from tile to tile and through the ends of tiles, so that memory never waits for them. The warps that
// multiply go each at its own pace: a barrier in shared memory says of each stage that it is full, another that all are
// done with it. Four of them side by side cover the outputs, 32 each; two such rows of warps, a team, share a stage's
// inputs, and two teams take turns with stages. Their sums meet in shared memory at the tile's end, in fixed order,
// where warps of another kind (Finisher) take them.
//
// Rows lie in a stage as the copy engine puts them, 16-byte chunk c of row r at c ^ (r % 8). A fragment's index g
// (= lane / 4) stands for row_of(g), so that whichever lanes read together find their chunks in different banks.
//
// Inside a k32 block a thread takes inputs 8 t .. 8 t + 7 (t = lane % 4) of rows g and g + 8, where the instruction's
// own order would be 2 t, 2 t + 1, 2 t + 8, ...: the sum over inputs does not mind, as long as both operands agree, and
// each thread reads 16 consecutive bytes.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "backend/cuda/skinny_fixed.cuh"
#include "backend/cuda/skinny_inputs.cuh"

namespace bamba::backend::cuda::skinny {

/// d = a * b + c: a 16 x 16 (weights), b 16 x 8 (activations).
__device__ inline void mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1,
                           const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

template <class Format, int kColumnTiles, SkinnyEnd kEnd>
__device__ inline void multiply_stage(const SkinnyParams& p, const unsigned char* stage, const unsigned char* table,
                                      int tile, int chunk, Sums<kColumnTiles>& sums) {
  using S = Shape<Format, kColumnTiles, 8 * kColumnTiles, 1>;  // stages are those of any room and number of teams
  constexpr int kFold = Format::kFoldBlocks;
  const StagePlace own;
  const unsigned char* activations = stage + kWeightBytes;
  const unsigned char* scales = activations + S::kActivationBytes;

  typename Format::Raw raw[4];
  own.template read<Format>(stage, raw);
#pragma unroll
  for (int first = 0; first < Format::kBlocks; first += kFold) {
    uint4 columns[kFold][kColumnTiles];
#pragma unroll
    for (int f = 0; f < kFold; ++f) {
      const int block = own.k * Format::kBlocks + first + f;
      const unsigned char* box = activations + block / 2 * S::kBoxBytes;
      const int place = ((block % 2 * 4 + own.t) ^ own.row) * 16;
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const int row = 8 * n + own.row;
        // Rows that are not there cost no time in shared memory.
        columns[f][n] =
            row < p.rows ? *reinterpret_cast<const uint4*>(box + row * kBoxRowBytes + place) : make_uint4(0, 0, 0, 0);
      }
    }
    float factors[4];
    if constexpr (Format::kFolds) {
      const int block = own.k * Format::kBlocks + first;
      Format::template factors<kEnd>(p, scales, own.out, own.row, block, tile, chunk, factors);
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

/// In place of a FixedMultiplier.
struct Nothing {
  __device__ explicit Nothing(const SkinnyParams&) {}
};

template <class Format, class S, SkinnyEnd kEnd>
__global__ void __maxnreg__((S::kRegisters)) skinny_mma_kernel(const __grid_constant__ SkinnyParams p) {
  constexpr int kColumnTiles = S::kMaxRows / 8;
  constexpr int kTeams = S::kTeams;
  extern __shared__ __align__(1024) unsigned char memory[];
  const SharedParts<Format, S> shared(memory, p.rows);
  const int chunks = p.plan.chunks;
  const int begin = static_cast<int>(blockIdx.x) * p.plan.per_block;
  const int end = min(begin + p.plan.per_block, p.plan.tiles * chunks);
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const bool leads = thread % 32 == 0;

  if (warp == S::kConsumers && leads) shared.start_barriers();
  if constexpr (Format::kTableBytes > 0) {
    if (warp < S::kConsumers) Format::fill_table(shared.table, thread, S::kConsumers * 32);
  }
  clear_missing_rows<Format, S>(shared.ring);
  __syncthreads();
  const int helper = warp - S::kConsumers;
  if (helper >= 0 && helper < S::kFillers) {
    if (helper == 0) {
      if (leads) WeightFiller<Format, S, kEnd>(p, shared).copy(begin, end);
      wait_for_previous();
    } else {
      if constexpr (kEnd == SkinnyEnd::convolution) {
        // Tiles that the block begins are its to end.
        prefetch_convolution(p, (begin + chunks - 1) / chunks, (end - 1) / chunks, thread % 32, 32);
      }
      copy_inputs(p, shared, begin, end);
    }
    return;
  }
  using Ends = Finisher<S::kRoom, S::kFinishers, kEnd, typename S::Meets>;
  Ends finisher(p, shared.meeting, S::kApart ? helper - S::kFillers : warp);
  if (S::kApart && helper >= 0) {
    wait_for_previous();
    if (!finisher.has_rows()) return;
    finisher.load_factors();
    int turn = 0;
    for (int tile = begin / chunks; tile * chunks < end; ++tile) finisher.end_tile(tile, turn++);
    return;
  }
  const std::conditional_t<Format::kFixed, FixedMultiplier<Format, kEnd>, Nothing> fixed(p);
  wait_for_previous();

  if constexpr (!S::kApart) finisher.load_factors();
  Sums<kColumnTiles> sums;
  const int team = warp / S::kTeamWarps;
  // Whoever begins early fetches from memory what L2 does not hold for long: not before all loads are under way.
  const int last_loads = max(begin, end - S::kStages);
  int stage = team;
  int phase = 0;
  int unit = begin + team;  // the team's next
  int turn = 0;
  for (int tile = begin / chunks; tile * chunks < end; ++tile, ++turn) {
    sums.clear();
    const int tile_end = min(end, (tile + 1) * chunks);
#pragma unroll 1
    for (; unit < tile_end; unit += kTeams) {
      if (unit >= last_loads && unit - kTeams < last_loads) let_next_begin();
      shared.full[stage].wait(phase);
      const unsigned char* inputs = shared.ring + stage * S::kStageBytes;
      if constexpr (Format::kFixed) {
        fixed.multiply(inputs, sums);
      } else {
        multiply_stage<Format, kColumnTiles, kEnd>(p, inputs, shared.table, tile, unit - tile * chunks, sums);
      }
      __syncwarp();
      if (leads) shared.empty[stage].arrive();
      stage += kTeams;
      if (stage >= S::kStages) {
        stage -= S::kStages;
        phase ^= 1;
      }
    }
    if constexpr (Format::kFixed) join_sums<Format>(sums);
    shared.meeting.write(turn, sums);
    if constexpr (!S::kApart) {
      if (finisher.has_rows()) {
        finisher.end_tile(tile, turn);
      } else {
        shared.meeting.pass();
      }
    }
  }
}

template <class Format, class S, SkinnyEnd kEnd>
void launch(cudaStream_t stream, const SkinnyParams& params) {
  const auto kernel = skinny_mma_kernel<Format, S, kEnd>;
  static const bool prepared = [&] {
    BAMBA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes));
    return true;
  }();
  static_cast<void>(prepared);
  launch_kernel(stream, kernel, static_cast<unsigned>(params.plan.blocks), S::kThreads, S::kSharedBytes, params.early,
                params);
}

/// Up to kRoom rows, of eight at most.
template <class Format, int kRoom>
void launch_for_end(cudaStream_t stream, const SkinnyParams& params) {
  using S = Shape<Format, 1, kRoom, Format::kTeams>;
  switch (params.end) {
    case SkinnyEnd::plain:
      return launch<Format, S, SkinnyEnd::plain>(stream, params);
    case SkinnyEnd::norm:
      return launch<Format, S, SkinnyEnd::norm>(stream, params);
    case SkinnyEnd::convolution:
      return launch<Format, S, SkinnyEnd::convolution>(stream, params);
    case SkinnyEnd::gated:
      if constexpr (Format::kGates) return launch<Format, S, SkinnyEnd::gated>(stream, params);
  }
}

/// Format<kRowRoom>.
template <template <int> class Format>
void launch_fixed(cudaStream_t stream, const SkinnyParams& params) {
  switch (params.rows) {
    case 1:
      return launch_for_end<Format<1>, 1>(stream, params);
    case 2:
      return launch_for_end<Format<2>, 2>(stream, params);
    default:
      return launch_for_end<Format<4>, 4>(stream, params);
  }
}

template <class Format>
void launch_for_rows(cudaStream_t stream, const SkinnyParams& params) {
  switch (skinny_row_room(params.rows)) {
    case 8:
      // Two teams add up in another order than one.
      if (params.exact) return launch<Format, Shape<Format, 1, 8, 1>, SkinnyEnd::plain>(stream, params);
      if (params.rows <= 2) return launch_for_end<Format, 2>(stream, params);
      return launch_for_end<Format, 8>(stream, params);
    case 16:
      return launch<Format, Shape<Format, 2, 16, 1>, SkinnyEnd::plain>(stream, params);
    default:
      return launch<Format, Shape<Format, 4, 32, 1>, SkinnyEnd::plain>(stream, params);
  }
}

}  // namespace bamba::backend::cuda::skinny
