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

#include "backend/cuda/skinny_fixed.cuh"
#include "backend/cuda/skinny_ring.cuh"

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
  using S = Shape<Format, kColumnTiles>;
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

template <class Format, int kColumnTiles, SkinnyEnd kEnd>
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
  const bool leads = thread % 32 == 0;

  Filler<Format, S, kEnd> filler(p, shared, begin, end);
  if (fills) {
    if (leads) filler.begin();
  } else {
    if constexpr (kEnd == SkinnyEnd::convolution) {
      prefetch_convolution(p, begin / chunks, (end - 1) / chunks, thread, S::kConsumers * 32);
    }
    if constexpr (Format::kTableBytes > 0) Format::fill_table(shared.table, thread, S::kConsumers * 32);
  }
  __syncthreads();
  wait_for_previous();
  if (fills) {
    if (!leads) return;
    filler.copy_first_inputs();
    Cursor at(begin + S::kStages, chunks);
    for (int unit = begin + S::kStages; unit < end; ++unit) {
      filler.fill(at);
      at.template advance<S::kStages>(chunks);
    }
    return;
  }

  RowFactors<kColumnTiles> factors;
  Sums<kColumnTiles> sums;
  sums.clear();
  Cursor at(begin, chunks);
  for (int unit = begin; unit < end; ++unit) {
    // Whoever begins early fetches from memory what L2 does not hold for long: not before all loads are under way.
    if (unit == max(begin, end - S::kStages)) let_next_begin();
    shared.full[at.stage].wait(at.phase);
    const unsigned char* inputs = shared.ring + at.stage * S::kStageBytes;
    if constexpr (Format::kFixed) {
      multiply_fixed_stage<Format, kEnd>(p, inputs, sums);
    } else {
      multiply_stage<Format, kColumnTiles, kEnd>(p, inputs, shared.table, at.tile, at.chunk, sums);
    }
    __syncwarp();
    if (leads) shared.empty[at.stage].arrive();
    // Nobody needs them before a tile's end, and the ring lets a warp lag behind the others.
    if (unit == begin) factors.load(p);
    if (at.chunk + 1 == chunks || unit + 1 == end) {
      if constexpr (Format::kFixed) join_sums<Format>(sums);
      finish_tile<kColumnTiles, kEnd>(p, at.tile, at.tile == begin / chunks, shared.meeting, factors, sums);
      sums.clear();
    }
    at.template advance<S::kStages>(chunks);
  }
}

template <class Format, int kColumnTiles, SkinnyEnd kEnd>
void launch(cudaStream_t stream, const SkinnyParams& params) {
  using S = Shape<Format, kColumnTiles>;
  const auto kernel = skinny_mma_kernel<Format, kColumnTiles, kEnd>;
  static const bool prepared = [&] {
    BAMBA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes));
    return true;
  }();
  static_cast<void>(prepared);
  launch_kernel(stream, kernel, static_cast<unsigned>(params.plan.blocks), S::kThreads, S::kSharedBytes, params.early,
                params);
}

template <class Format>
void launch_for_end(cudaStream_t stream, const SkinnyParams& params) {
  switch (params.end) {
    case SkinnyEnd::plain:
      return launch<Format, 1, SkinnyEnd::plain>(stream, params);
    case SkinnyEnd::norm:
      return launch<Format, 1, SkinnyEnd::norm>(stream, params);
    case SkinnyEnd::convolution:
      return launch<Format, 1, SkinnyEnd::convolution>(stream, params);
    case SkinnyEnd::gated:
      if constexpr (Format::kGates) return launch<Format, 1, SkinnyEnd::gated>(stream, params);
  }
}

/// Format<kRowRoom>.
template <template <int> class Format>
void launch_fixed(cudaStream_t stream, const SkinnyParams& params) {
  switch (params.rows) {
    case 1:
      return launch_for_end<Format<1>>(stream, params);
    case 2:
      return launch_for_end<Format<2>>(stream, params);
    default:
      return launch_for_end<Format<4>>(stream, params);
  }
}

template <class Format>
void launch_for_rows(cudaStream_t stream, const SkinnyParams& params) {
  switch (skinny_row_room(params.rows)) {
    case 8:
      return launch_for_end<Format>(stream, params);
    case 16:
      return launch<Format, 2, SkinnyEnd::plain>(stream, params);
    default:
      return launch<Format, 4, SkinnyEnd::plain>(stream, params);
  }
}

}  // namespace bamba::backend::cuda::skinny
