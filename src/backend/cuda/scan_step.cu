// The selective scan of a decoding step, one token of each sequence, with the gate behind it: the function and the bits
// of scan_recurrent(), of which it is the quick way for usual shapes. A step waits for it alone, so all that its token
// does not decide is done before the kernel in front has ended, and all that it does decide is read at once, each
// thread what it needs itself.
//
// A block has 64 columns of a head's state, [d_state, d_head], of one sequence; a thread four columns of kRows rows.
#include <cstdint>
#include <limits>

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/fixed_point.cuh"
#include "backend/cuda/keep.cuh"
#include "backend/cuda/scan_elements.cuh"
#include "backend/cuda/scan_step.h"
#include "backend/cuda/scan_time_step.cuh"
#include "backend/cuda/warp_sum.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;
constexpr int kColumns = 64;  // of a block
constexpr int kLanes = kColumns / kVector;
constexpr int kGroups = kThreads / kLanes;
constexpr int kWarps = kThreads / 32;

/// n bf16 that other kernels have written.
template <int n>
__device__ void read(const __nv_bfloat16* from, float (&v)[n]) {
  static_assert(n % 4 == 0);
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const uint2 words = __ldcg(reinterpret_cast<const uint2*>(from + i));
    v[i] = low_bf16(words.x);
    v[i + 1] = high_bf16(words.x);
    v[i + 2] = low_bf16(words.y);
    v[i + 3] = high_bf16(words.y);
  }
}
__device__ float read(const __nv_bfloat16* from) {
  return __uint_as_float(uint32_t{__ldcg(reinterpret_cast<const unsigned short*>(from))} << 16);
}

/// Blocks in [columns of a head, heads, sequences].
template <int kRows>
__global__ __launch_bounds__(kThreads, 3) void step_kernel(const ScanArguments<__nv_bfloat16> args,
                                                           const int heads_of_group) {
  __shared__ float sums[kWarps][kColumns];
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const auto d_head = static_cast<int>(args.shape.d_head);
  const auto d_state = static_cast<int>(args.shape.d_state);
  const auto head = static_cast<int>(blockIdx.y);
  const int first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int column = first_column + thread % kLanes * kVector;
  const int n0 = thread / kLanes * kRows;

  // The lists of a pass are copied in front of all of its kernels; the product before lets this kernel begin only after
  // all before it have ended, and does not touch states.
  float4* const state = reinterpret_cast<float4*>(args.states[blockIdx.z] + (head * d_state + n0) * d_head + column);
  const SequenceRows rows = args.sequences[blockIdx.z];
  const int pitch = d_head / kVector;
  float s[kRows][kVector];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float4 four = __ldcs(state + i * pitch);  // once read, once written: not worth a place in L2
    s[i][0] = four.x;
    s[i][1] = four.y;
    s[i][2] = four.z;
    s[i][3] = four.w;
  }
  const float a = args.a[head];
  const float skip = args.d[head];
  const float dt_bias = args.dt_bias[head];
  // The column whose output the thread ends, if it is one of the first kColumns.
  const int own = head * d_head + first_column + thread % kColumns;
  const float norm_weight = args.norm_weight[own];
  const __nv_bfloat16* const line = args.xbc + rows.first * args.xbc_stride;
  const __nv_bfloat16* b_from =
      line + static_cast<int>(args.shape.n_heads) * d_head + head / heads_of_group * d_state + n0;
  const __nv_bfloat16* c_from = b_from + static_cast<int>(args.shape.n_groups) * d_state;
  const __nv_bfloat16* x_from = line + head * d_head + column;
  const __nv_bfloat16* dt_from = args.dt + rows.first * args.dt_stride + head;
  const __nv_bfloat16* gate_from = args.gate + rows.first * args.gate_stride + own;
  const __nv_bfloat16* own_x_from = line + own;
  for (const __nv_bfloat16** each : {&b_from, &c_from, &x_from, &dt_from, &gate_from, &own_x_from}) keep(*each);
  wait_for_previous();
  let_next_begin();
  if (rows.count == 0) return;

  float b[kRows];
  float c[kRows];
  float x[kVector];
  read(b_from, b);
  read(c_from, c);
  read(x_from, x);
  const float dt = read(dt_from);
  const float gate = read(gate_from);
  const float own_x = read(own_x_from);

  const float delta = time_step(dt + dt_bias, args.shape.time_step_min, args.shape.time_step_max);
  const float decay = expf(delta * a);
  float y[kVector] = {};
#pragma unroll
  for (float& each : x) each *= delta;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      s[i][v] = fmaf(x[v], b[i], s[i][v] * decay);
      y[v] = fmaf(s[i][v], c[i], y[v]);
    }
  }
  // In scan_recurrent()'s order: the two groups of a warp, then warps.
  static_assert(kLanes == 16);
#pragma unroll
  for (float& each : y) each += __shfl_xor_sync(0xFFFFFFFFU, each, kLanes);
  if (lane < kLanes) *reinterpret_cast<float4*>(&sums[warp][lane * kVector]) = make_float4(y[0], y[1], y[2], y[3]);
  __syncthreads();
  if (thread < kColumns) {
    float sum = sums[0][thread];
#pragma unroll
    for (int k = 1; k < kWarps; ++k) sum += sums[k][thread];
    const float u = fmaf(skip, own_x, sum) * silu<__nv_bfloat16>(gate);
    if (args.fixed_out.scales != nullptr) {
      store_fixed(args.fixed_out, rows.first, own, norm_weight * u);
    } else {
      args.out[rows.first * args.out_stride + own] = __float2bfloat16_rn(norm_weight * u);
    }
    const float squares = warp_sum(u * u);
    if (lane == 0) {
      args.squares[rows.first * (args.shape.n_heads * d_head / kSquareColumns) + own / kSquareColumns] = squares;
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) __stcs(state + i * pitch, make_float4(s[i][0], s[i][1], s[i][2], s[i][3]));
}

}  // namespace

bool scan_step_runs(const ScanArguments<__nv_bfloat16>& args) {
  const ScanShape& shape = args.shape;
  const bool usual = shape.d_state == 4 * kGroups || shape.d_state == 8 * kGroups;
  return args.gate != nullptr && args.max_count == 1 && usual && shape.d_head % kColumns == 0 &&
         shape.n_heads * shape.d_head * shape.d_state <= std::numeric_limits<int>::max() && shape.n_heads <= 65535 &&
         args.xbc_stride % 4 == 0 && reinterpret_cast<uintptr_t>(args.xbc) % 8 == 0;
}

void scan_step(cudaStream_t stream, const ScanArguments<__nv_bfloat16>& args) {
  const ScanShape& shape = args.shape;
  const dim3 grid(static_cast<unsigned>(shape.d_head / kColumns), static_cast<unsigned>(shape.n_heads),
                  static_cast<unsigned>(args.n_sequences));
  const auto heads_of_group = static_cast<int>(shape.n_heads / shape.n_groups);
  if (shape.d_state == 4 * kGroups) {
    launch_early(stream, step_kernel<4>, grid, kThreads, 0, args, heads_of_group);
  } else {
    launch_early(stream, step_kernel<8>, grid, kThreads, 0, args, heads_of_group);
  }
}

}  // namespace bamba::backend::cuda
