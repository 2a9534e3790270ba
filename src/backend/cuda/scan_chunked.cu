// The selective scan by Mamba-2's block decomposition ("Transformers are SSMs", Dao & Gu 2024, section 6) on tensor
// cores. A block of threads walks one head of one sequence, 64 tokens at a time, and keeps the head's state in
// registers: the state's memory is touched once, inputs and outputs too, and 128 heads fill the device with one prompt.
//
// Of a block of tokens, with c_i the running sum of log2 decays:
//   y_i = 2^c_i C_i s_prev + sum_{j <= i} 2^(c_i - c_j) Delta_j (C_i . B_j) x_j + D x_i
//   s   = 2^c_last s_prev + sum_j B_j (x) 2^(c_last - c_j) Delta_j x_j
// Four warps make y from the entering state, rounded to bf16 in shared memory, while four others make the next state.
// No exponent is positive. 64 tokens and not chunk_size: the masked product grows with the block and 2^(c_i - c_j)
// costs an exponential an element, while states, which never leave the chip, cost the same at any length.
#include "backend/cuda/block_barrier.cuh"
#include "backend/cuda/check.h"
#include "backend/cuda/scan_mma.cuh"
#include "backend/cuda/scan_tables.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kHead = 64;
constexpr int kRole = 128;  // threads of a role
constexpr int kThreads = 2 * kRole;
using Arguments = ScanArguments<__nv_bfloat16>;

/// The same number, but the compiler cannot know: what is derived from it is computed anew in every turn of a loop. The
/// dozens of addresses that it would otherwise keep through the loop are worth more as registers.
__device__ __forceinline__ int anew(int v) {
  asm volatile("" : "+r"(v));
  return v;
}

/// Tiles of 64 columns have rows of 128 bytes: all 32 banks. Eight rows that are read together must have their 16-byte
/// pieces in different places, so piece p of row r lies at p ^ swizzle(r).
__device__ __forceinline__ int swizzle(int row) {
  return row & 7;
}
/// The state's rows are read in eights of 8 a + 2 b + (0, 1), a = 0..3, and written in runs of eight.
__device__ __forceinline__ int state_swizzle(int row) {
  return (row & 1) | ((((row >> 3) ^ (row >> 1)) & 3) << 1);
}

template <int kState>
struct Shared {
  alignas(128) uint8_t x[2][kBlockTokens * kHead * 2];     // [tokens, d_head] of this block and of the next
  alignas(128) uint8_t b[2][kBlockTokens * kState * 2];    // [tokens, d_state]
  alignas(128) uint8_t decayed[kBlockTokens * kHead * 2];  // 2^(c_last - c_j) Delta_j x_j
  alignas(128) uint8_t state[2][kState * kHead * 2];       // [d_state, d_head], entering this block and the next
  alignas(128) uint8_t y[kBlockTokens * kHead * 2];        // each warp its own 16 rows
  alignas(128) float sums[2][kBlockTokens];
  alignas(128) float delta[2][kBlockTokens];
  BlockBarrier entrance;  // of all threads, before each block
};

/// What both roles know.
template <int kState>
struct Walk {
  const Arguments& args;
  const ScanTables& tables;
  Shared<kState>& shared;
  SequenceRows rows;
  int64_t blocks;
  int64_t first_number;  // of the sequence's blocks in the tables
  int64_t head;
  int64_t group;

  /// Asks for the inputs of a block; all threads together.
  __device__ __forceinline__ void fetch(int64_t index) const {
    const BlockRows block = block_rows(rows, index);
    const auto side = index & 1;
    const __nv_bfloat16* line = args.xbc + block.first * args.xbc_stride;
    fetch_rows<kHead>(line + head * kHead, block.count, shared_address(shared.x[side]));
    fetch_rows<kState>(line + args.shape.n_heads * kHead + group * kState, block.count, shared_address(shared.b[side]));
    if (threadIdx.x < 32) {
      const int piece = anew(static_cast<int>(threadIdx.x)) % 16 * 4;
      const int64_t at = tables.head_at(first_number + index, head) + piece;
      if (threadIdx.x < 16) {
        copy_async(shared_address(shared.sums[side] + piece), tables.sums + at, true);
      } else {
        copy_async(shared_address(shared.delta[side] + piece), tables.delta + at, true);
      }
    }
    copies_begin();
  }

  /// 64 rows of kColumns; each thread has one piece of every kStep-th row, a multiple of 8 rows on: the same swizzle.
  template <int kColumns>
  __device__ __forceinline__ void fetch_rows(const __nv_bfloat16* source, int count, uint32_t target) const {
    constexpr int kPieces = kColumns / 8;
    constexpr int kStep = kThreads / kPieces;
    static_assert(kStep % 8 == 0);
    const int thread = anew(static_cast<int>(threadIdx.x));
    const int row = thread / kPieces;
    const int piece = thread % kPieces;
    source += row * args.xbc_stride + piece * 8;
    target += row * kColumns * 2 + (piece ^ swizzle(row)) * 16;
#pragma unroll
    for (int i = 0; i < kBlockTokens / kStep; ++i) {
      copy_async(target + i * kStep * kColumns * 2, source, row + i * kStep < count);
      source += kStep * args.xbc_stride;
    }
  }

  /// The block's inputs and the state that enters it are there, and nobody needs the block before any more: its place
  /// goes to the block after.
  __device__ __forceinline__ void enter(int64_t index) const {
    copies_done();
    shared.entrance.arrive_and_wait();
    if (index + 1 < blocks) fetch(index + 1);
  }
};

// --- outputs ----------------------------------------------------------------------------------------------------

/// One warp's rows of C, [16, d_state], as operands: the lane's pieces d_state 32 kk + 8q + (0..7) of rows g and g + 8.
template <int kState>
struct Queries {
  uint4 upper[kState / 32];
  uint4 lower[kState / 32];

  __device__ __forceinline__ void load(const Walk<kState>& walk, int64_t index, int row, int q) {
    const BlockRows block = block_rows(walk.rows, index);
    const int64_t stride = walk.args.xbc_stride;
    const __nv_bfloat16* c = walk.args.xbc + (block.first + row) * stride + walk.args.shape.n_heads * kHead +
                             (walk.args.shape.n_groups + walk.group) * kState + q * 8;
#pragma unroll
    for (int kk = 0; kk < kState / 32; ++kk) {
      upper[kk] = lower[kk] = make_uint4(0, 0, 0, 0);
      if (row < block.count) upper[kk] = *reinterpret_cast<const uint4*>(c + kk * 32);
      if (row + 8 < block.count) lower[kk] = *reinterpret_cast<const uint4*>(c + 8 * stride + kk * 32);
    }
  }
};

/// y += C s_prev. Words 2s and 2s + 1 of a lane's piece are its operands of one product: column 2q + e of C is d_state
/// 32 kk + 8q + 4s + e, column 8 + 2q + e the same + 2. The rows of the state follow that order.
/// d_state [32 kFirst, 32 kLast).
template <int kState, int kFirst, int kLast>
__device__ __forceinline__ void add_from_state(const Queries<kState>& c, uint32_t state, int lane, float (&y)[8][4]) {
  const int r = lane % 8;
  const int tile = lane / 8;
#pragma unroll
  for (int kk = kFirst; kk < kLast; ++kk) {
    const uint32_t upper[4] = {c.upper[kk].x, c.upper[kk].y, c.upper[kk].z, c.upper[kk].w};
    const uint32_t lower[4] = {c.lower[kk].x, c.lower[kk].y, c.lower[kk].z, c.lower[kk].w};
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const int row = 8 * (r / 2) + 4 * s + 2 * (tile % 2) + r % 2;
      const uint32_t address = state + row * kHead * 2 + ((tile / 2) ^ state_swizzle(row)) * 16;
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        uint32_t tiles[4];
        load_transposed((address ^ (p * 32)) + kk * 32 * kHead * 2, tiles);
        multiply_tiles(y[2 * p], upper[2 * s], lower[2 * s], upper[2 * s + 1], lower[2 * s + 1], tiles[0], tiles[1]);
        multiply_tiles(y[2 * p + 1], upper[2 * s], lower[2 * s], upper[2 * s + 1], lower[2 * s + 1], tiles[2],
                       tiles[3]);
      }
    }
  }
}

/// Rows 16 jj .. of a tile of 64 columns as the second operand: columns [16 p, 16 p + 16) for p = 0..3 in turn.
__device__ __forceinline__ uint32_t token_address(uint32_t base, int jj, int lane) {
  const int row = 16 * jj + lane % 8 + lane / 8 % 2 * 8;
  return base + row * kHead * 2 + ((lane / 16) ^ swizzle(row)) * 16;
}

/// y += (scores, decayed and masked) x; rows [16 w, 16 w + 16).
__device__ __forceinline__ void add_from_block(const float4 (&scores)[8], const float* sums, const float* delta,
                                               uint32_t x, int w, int lane, float (&y)[8][4]) {
  const int i = 16 * w + lane / 4;
  const float upper = sums[i];
  const float lower = sums[i + 8];
#pragma unroll
  for (int jj = 0; jj < 4; ++jj) {
    if (jj > w) break;
    uint32_t weights[4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int j = 16 * jj + 8 * half + lane % 4 * 2;
      const float2 sum = *reinterpret_cast<const float2*>(sums + j);
      const float2 step = *reinterpret_cast<const float2*>(delta + j);
      const float4 score = scores[2 * jj + half];
      // An exponent above the diagonal may be positive: what it gives is not used.
      const float u0 = j <= i ? score.x * exp2_quick(upper - sum.x) * step.x : 0;
      const float u1 = j + 1 <= i ? score.y * exp2_quick(upper - sum.y) * step.y : 0;
      const float l0 = j <= i + 8 ? score.z * exp2_quick(lower - sum.x) * step.x : 0;
      const float l1 = j + 1 <= i + 8 ? score.w * exp2_quick(lower - sum.y) * step.y : 0;
      weights[2 * half] = pack_bf16(u0, u1);
      weights[2 * half + 1] = pack_bf16(l0, l1);
    }
    const uint32_t address = token_address(x, jj, lane);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      uint32_t tiles[4];
      load_transposed(address ^ (p * 32), tiles);
      multiply_tiles(y[2 * p], weights[0], weights[1], weights[2], weights[3], tiles[0], tiles[1]);
      multiply_tiles(y[2 * p + 1], weights[0], weights[1], weights[2], weights[3], tiles[2], tiles[3]);
    }
  }
}

/// Adds D x, rounds, and writes whole rows of 128 bytes by way of the warp's own part of shared memory.
template <int kState>
__device__ __forceinline__ void write_outputs(const Walk<kState>& walk, const BlockRows& block, const uint8_t* x,
                                              float skip, int w, int lane, const float (&y)[8][4]) {
  const int first = lane / 4 * kHead * 2 + swizzle(lane / 4) * 16 + lane % 4 * 4;
  uint8_t* tile = walk.shared.y + w * 16 * kHead * 2;
  const uint8_t* own = x + w * 16 * kHead * 2;
#pragma unroll
  for (int t = 0; t < 8; ++t) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = (first ^ (t * 16)) + 8 * half * kHead * 2;
      const uint32_t in = *reinterpret_cast<const uint32_t*>(own + at);
      *reinterpret_cast<uint32_t*>(tile + at) =
          pack_bf16(fmaf(skip, low_bf16(in), y[t][2 * half]), fmaf(skip, high_bf16(in), y[t][2 * half + 1]));
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 8 + 4 * i;
    const int piece = lane % 8;
    if (16 * w + row >= block.count) continue;
    const uint4 v = *reinterpret_cast<const uint4*>(tile + row * kHead * 2 + (piece ^ swizzle(row)) * 16);
    *reinterpret_cast<uint4*>(walk.args.out + (block.first + 16 * w + row) * walk.args.out_stride + walk.head * kHead +
                              piece * 8) = v;
  }
}

template <int kState>
__device__ __forceinline__ void make_outputs(const Walk<kState>& walk) {
  const int w = static_cast<int>(threadIdx.x) / 32;
  const float skip = walk.args.d[walk.head];
  int lane = static_cast<int>(threadIdx.x) % 32;
  Queries<kState> c;
  c.load(walk, 0, 16 * w + lane / 4, lane % 4);
  for (int64_t index = 0; index < walk.blocks; ++index) {
    walk.enter(index);
    lane = anew(lane);
    const int row = 16 * w + lane / 4;
    const auto side = index & 1;
    const uint32_t state = shared_address(walk.shared.state[side]);
    float y[8][4] = {};
    add_from_state<kState, 0, kState / 64>(c, state, lane, y);
    // Half of C's registers are free now, and the scores have the other half's time to come.
    const float4* ready = walk.tables.scores_of(walk.first_number + index, walk.group) + score_tile(w, 0) * 32 + lane;
    float4 scores[8];
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      if (t < 2 * (w + 1)) scores[t] = ready[t * 32];
    }
    add_from_state<kState, kState / 64, kState / 32>(c, state, lane, y);
    const float upper = exp2_quick(walk.shared.sums[side][row]);
    const float lower = exp2_quick(walk.shared.sums[side][row + 8]);
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      y[t][0] *= upper;
      y[t][1] *= upper;
      y[t][2] *= lower;
      y[t][3] *= lower;
    }
    add_from_block(scores, walk.shared.sums[side], walk.shared.delta[side], shared_address(walk.shared.x[side]), w,
                   lane, y);
    if (index + 1 < walk.blocks) c.load(walk, index + 1, row, lane % 4);
    write_outputs(walk, block_rows(walk.rows, index), walk.shared.x[side], skip, w, lane, y);
  }
}

// --- states -----------------------------------------------------------------------------------------------------

/// A warp has d_state / 4 rows of the state, in tiles of [16, 8]: lane (g, q) has columns 8 t + 2q, + 1 of rows g and
/// g + 8 of each.
template <int kState>
struct States {
  static constexpr int kTiles = kState / 64;
  float s[kTiles][8][4];
  int first_row;
  int lane;

  /// The lane's first element; tile (m, t)'s are 16 m rows and 8 t columns on, in its lower half 8 more rows.
  __device__ __forceinline__ int first_element() const { return (first_row + lane / 4) * kHead + lane % 4 * 2; }

  __device__ __forceinline__ void load(const float* state) {
    const float* own = state + first_element();
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int t = 0; t < 8; ++t) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float2 v = *reinterpret_cast<const float2*>(own + (16 * m + 8 * half) * kHead + 8 * t);
          s[m][t][2 * half] = v.x;
          s[m][t][2 * half + 1] = v.y;
        }
      }
    }
  }
  __device__ __forceinline__ void store(float* state) const {
    float* own = state + first_element();
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int t = 0; t < 8; ++t) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          *reinterpret_cast<float2*>(own + (16 * m + 8 * half) * kHead + 8 * t) =
              make_float2(s[m][t][2 * half], s[m][t][2 * half + 1]);
        }
      }
    }
  }
  /// As first_row is a multiple of 16 (of 32 with two tiles), rows 8 (2 m + half) further on differ in their swizzle by
  /// just these bits.
  __device__ __forceinline__ void store_rounded(uint8_t* tile) const {
    const int own = first_element() * 2 ^ state_swizzle(first_row + lane / 4) * 16;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int t = 0; t < 8; ++t) {
          const int at = (own ^ ((t ^ (2 * m + half) * 2) * 16)) + (16 * m + 8 * half) * kHead * 2;
          *reinterpret_cast<uint32_t*>(tile + at) = pack_bf16(s[m][t][2 * half], s[m][t][2 * half + 1]);
        }
      }
    }
  }
  /// s = decay s + B^T x over 64 tokens. b: [tokens, d_state], x: [tokens, d_head] in shared memory.
  __device__ __forceinline__ void advance(float decay, uint32_t b, uint32_t x) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int t = 0; t < 8; ++t) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][t][e] *= decay;
      }
    }
#pragma unroll
    for (int jj = 0; jj < kBlockTokens / 16; ++jj) {
      uint32_t keys[kTiles][4];
      const int token = 16 * jj + lane % 8 + lane / 16 * 8;
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        const int piece = first_row / 8 + 2 * m + lane / 8 % 2;
        load_transposed(b + token * kState * 2 + (piece ^ swizzle(token)) * 16, keys[m]);
      }
      const uint32_t address = token_address(x, jj, lane);
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        uint32_t tiles[4];
        load_transposed(address ^ (p * 32), tiles);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          multiply_tiles(s[m][2 * p], keys[m][0], keys[m][1], keys[m][2], keys[m][3], tiles[0], tiles[1]);
          multiply_tiles(s[m][2 * p + 1], keys[m][0], keys[m][1], keys[m][2], keys[m][3], tiles[2], tiles[3]);
        }
      }
    }
  }
};

/// decayed_j = 2^(c_last - c_j) Delta_j x_j; two threads a row.
__device__ __forceinline__ void decay_inputs(const uint8_t* x, const float* sums, const float* delta, int thread,
                                             uint8_t* decayed) {
  const int row = thread / 2;
  const float weight = exp2_quick(sums[kBlockTokens - 1] - sums[row]) * delta[row];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int at = row * kHead * 2 + ((thread % 2 * 4 + i) ^ swizzle(row)) * 16;
    float v[8];
    load_vector(reinterpret_cast<const __nv_bfloat16*>(x + at), v);
#pragma unroll
    for (float& e : v) e *= weight;
    *reinterpret_cast<uint4*>(decayed + at) = pack_bf16(v);
  }
}

template <int kState>
__device__ __forceinline__ void make_states(const Walk<kState>& walk, float* state) {
  int thread = static_cast<int>(threadIdx.x) - kRole;
  Shared<kState>& shared = walk.shared;
  States<kState> states;
  states.first_row = thread / 32 * (kState / 4);
  states.lane = thread % 32;
  states.load(state);
  states.store_rounded(shared.state[0]);
  for (int64_t index = 0; index < walk.blocks; ++index) {
    walk.enter(index);
    thread = anew(thread);
    states.lane = thread % 32;
    const auto side = index & 1;
    decay_inputs(shared.x[side], shared.sums[side], shared.delta[side], thread, shared.decayed);
    asm volatile("bar.sync 1, %0;" ::"n"(kRole) : "memory");
    states.advance(exp2_quick(shared.sums[side][kBlockTokens - 1]), shared_address(shared.b[side]),
                   shared_address(shared.decayed));
    if (index + 1 < walk.blocks) states.store_rounded(shared.state[side ^ 1]);
  }
  states.store(state);
}

template <int kState>
__global__ __launch_bounds__(kThreads, 2) void chunked_kernel(const Arguments args, const ScanTables tables) {
  extern __shared__ __align__(128) uint8_t shared_memory[];
  const SequenceRows rows = args.sequences[blockIdx.y];
  if (rows.count == 0) return;
  const int64_t head = blockIdx.x;
  const Walk<kState> walk{args,
                          tables,
                          *reinterpret_cast<Shared<kState>*>(shared_memory),
                          rows,
                          block_count(rows),
                          first_block(rows, blockIdx.y),
                          head,
                          head / (args.shape.n_heads / args.shape.n_groups)};
  if (threadIdx.x == 0) walk.shared.entrance.start(kThreads);
  walk.fetch(0);
  __syncthreads();
  if (threadIdx.x < kRole) {
    make_outputs(walk);
  } else {
    make_states(walk, args.states[blockIdx.y] + head * kState * kHead);
  }
}

template <int kState>
void launch(cudaStream_t stream, const Arguments& args, const ScanTables& tables) {
  const auto bytes = static_cast<int>(sizeof(Shared<kState>));
  BAMBA_CUDA_CHECK(cudaFuncSetAttribute(chunked_kernel<kState>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const dim3 grid(static_cast<unsigned>(args.shape.n_heads), static_cast<unsigned>(args.n_sequences));
  chunked_kernel<kState><<<grid, kThreads, bytes, stream>>>(args, tables);
  BAMBA_CUDA_CHECK_LAUNCH();
}

bool shape_fits(const ScanShape& shape) {
  return shape.d_head == kHead && (shape.d_state == 64 || shape.d_state == 128) && shape.chunk_size % kBlockTokens == 0;
}

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

template <>
void scan_chunked(cudaStream_t stream, const ScanArguments<float>& args) {
  scan_recurrent(stream, args);
}

template <>
void scan_chunked(cudaStream_t stream, const Arguments& args) {
  if (args.n_sequences == 0 || args.max_count == 0) return;
  if (!shape_fits(args.shape) || args.xbc_stride % 8 != 0 || args.out_stride % 8 != 0 || !aligned(args.xbc) ||
      !aligned(args.out)) {
    return scan_recurrent(stream, args);
  }
  const ScanTables tables(args.shape, kBlockNumbering.total(args.rows, args.n_sequences), args.workspace);
  fill_scan_tables(stream, args, tables);
  if (args.shape.d_state == 64) {
    launch<64>(stream, args, tables);
  } else {
    launch<128>(stream, args, tables);
  }
}

size_t scan_chunked_workspace_bytes(const ScanShape& shape, int64_t rows, int64_t n_sequences) {
  return shape_fits(shape) ? ScanTables::bytes(shape, kBlockNumbering.total(rows, n_sequences)) : 0;
}

}  // namespace bamba::backend::cuda
