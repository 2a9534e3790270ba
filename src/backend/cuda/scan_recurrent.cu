// The selective scan as a recurrence. A block of threads takes up to 64 columns of one head's state, [d_state, d_head],
// of one sequence and keeps them in registers over all tokens of the pass: state memory is read once and written once.
// Threads of a block stand in [groups, columns]: a thread has kVector neighbouring columns of kRows neighbouring rows.
// The sum over d_state that makes y runs over a thread's rows, then over the groups in a fixed tree.
#include <algorithm>
#include <bit>
#include <type_traits>

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/fixed_point.cuh"
#include "backend/cuda/scan.h"
#include "backend/cuda/scan_elements.cuh"
#include "backend/cuda/scan_step.h"
#include "backend/cuda/scan_time_step.cuh"
#include "backend/cuda/warp_sum.cuh"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxColumns = 64;
// Tokens whose inputs are brought to shared memory together.
constexpr int kMaxBatch = 8;

/// How a head's state is dealt to blocks and threads. A matter of the model's shape alone, but for `batch`, which
/// changes no bit.
struct Layout {
  int columns;    ///< vectors of columns in a block, a power of two
  int groups;     ///< kThreads / columns
  int partials;   ///< sums of a column that are left after those within a warp
  int slices;     ///< blocks of a head
  int state_pad;  ///< groups * kRows, at least d_state
  int batch;

  /// Columns of a block, kVector of them a thread.
  __host__ __device__ int width(int vector) const { return columns * vector; }
  /// f32 of shared memory for one token: B | C | x | partial sums | Delta, decay in the last four; a multiple of four.
  __host__ __device__ int token_floats(int vector) const {
    return (2 * state_pad + width(vector) * (1 + partials) + 7) / 4 * 4;
  }
};

/// Once read, once written in a pass, and larger than L2 in all: not worth keeping there.
template <int kVector>
__device__ __forceinline__ void load_state(const float* p, float (&v)[kVector]) {
  if constexpr (kVector == 4) {
    const float4 four = __ldcs(reinterpret_cast<const float4*>(p));
    v[0] = four.x;
    v[1] = four.y;
    v[2] = four.z;
    v[3] = four.w;
  } else {
    v[0] = __ldcs(p);
  }
}
template <int kVector>
__device__ __forceinline__ void store_state(float* p, const float (&v)[kVector]) {
  if constexpr (kVector == 4) {
    __stcs(reinterpret_cast<float4*>(p), make_float4(v[0], v[1], v[2], v[3]));
  } else {
    __stcs(p, v[0]);
  }
}

/// Brings the inputs of tokens [row, row + tokens) to shared memory; what lies outside the shape is zero.
template <typename T>
__device__ __forceinline__ void stage_inputs(const ScanArguments<T>& args, const Layout& layout, int vector,
                                             int64_t row, int tokens, int64_t head, int first_column, float* shared) {
  const ScanShape& shape = args.shape;
  const int64_t group = head / (shape.n_heads / shape.n_groups);
  const int pad = layout.state_pad;
  const int width = layout.width(vector);
  const int each = 2 * pad + width;
  for (int i = threadIdx.x; i < tokens * each; i += kThreads) {
    const int token = i / each;
    const int at = i % each;
    const T* line = args.xbc + (row + token) * args.xbc_stride;
    const T* bc = line + shape.n_heads * shape.d_head + group * shape.d_state;
    float v = 0;
    if (at < pad) {
      if (at < shape.d_state) v = to_float(bc[at]);
    } else if (at < 2 * pad) {
      if (at - pad < shape.d_state) v = to_float(bc[shape.n_groups * shape.d_state + at - pad]);
    } else if (first_column + at - 2 * pad < shape.d_head) {
      v = to_float(line[head * shape.d_head + first_column + at - 2 * pad]);
    }
    shared[token * layout.token_floats(vector) + at] = v;
  }
  if (threadIdx.x < tokens) {
    const float raw = to_float(args.dt[(row + threadIdx.x) * args.dt_stride + head]) + args.dt_bias[head];
    const float delta = time_step(raw, shape.time_step_min, shape.time_step_max);
    float* step = shared + (threadIdx.x + 1) * layout.token_floats(vector) - 4;
    step[0] = delta;
    step[1] = expf(delta * args.a[head]);
  }
}

template <typename T, int kVector, int kRows, bool kGates>
__global__ __launch_bounds__(kThreads, kRows <= 8 ? 3 : 1) void recurrent_kernel(const ScanArguments<T> args,
                                                                                 const Layout layout) {
  let_next_begin();
  extern __shared__ float4 shared_memory[];
  auto* shared = reinterpret_cast<float*>(shared_memory);
  const ScanShape& shape = args.shape;
  const int64_t head = blockIdx.x / layout.slices;
  const int width = layout.width(kVector);
  const int first_column = static_cast<int>(blockIdx.x % layout.slices) * width;
  const int column = static_cast<int>(threadIdx.x) % layout.columns * kVector;
  const int group = static_cast<int>(threadIdx.x) / layout.columns;
  const int n0 = group * kRows;
  const bool inside = first_column + column < shape.d_head;
  // The lists of a pass are copied in front of all of its kernels.
  float* state = args.states[blockIdx.y] + (head * shape.d_state + n0) * shape.d_head + first_column + column;
  if constexpr (kVector == 4) {
    const int bytes =
        static_cast<int>(min(int64_t{width}, shape.d_head - first_column)) * static_cast<int>(sizeof(float));
    if (column == 0 && bytes > 0) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (n0 + i < shape.d_state) prefetch_to_l2(state + i * shape.d_head, bytes);
      }
    }
  }
  if (threadIdx.x == 0) {
    prefetch_line_to_l2(args.a + head);
    prefetch_line_to_l2(args.d + head);
    prefetch_line_to_l2(args.dt_bias + head);
  }
  // Of the column that the thread ends.
  const int64_t own_column = head * shape.d_head + first_column + static_cast<int>(threadIdx.x) % width;
  const float norm_weight = kGates ? args.norm_weight[own_column] : 0.0f;
  const SequenceRows rows = args.sequences[blockIdx.y];
  wait_for_previous();
  if (rows.count == 0) return;
  float s[kRows][kVector];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) s[i][v] = 0;
    if (inside && n0 + i < shape.d_state) load_state(state + i * shape.d_head, s[i]);
  }
  // Decoding's only token.
  float gate = kGates ? to_float(args.gate[rows.first * args.gate_stride + own_column]) : 0.0f;

  const int token_floats = layout.token_floats(kVector);
  // Lanes that share a column are added first: what is left is one sum a warp, or one a group of wider ones.
  const int partial = layout.columns < 32 ? static_cast<int>(threadIdx.x) / 32 : group;
  const float skip = args.d[head];
  for (int64_t t = 0; t < rows.count; t += layout.batch) {
    const int64_t left = rows.count - t;
    const int tokens = left < layout.batch ? static_cast<int>(left) : layout.batch;
    stage_inputs(args, layout, kVector, rows.first + t, tokens, head, first_column, shared);
    __syncthreads();
    for (int token = 0; token < tokens; ++token) {
      const float* inputs = shared + token * token_floats;
      const float delta = inputs[token_floats - 4];
      const float decay = inputs[token_floats - 3];
      float x[kVector];
      float y[kVector] = {};
      load_vector(inputs + 2 * layout.state_pad + column, x);
#pragma unroll
      for (int v = 0; v < kVector; ++v) x[v] *= delta;
      constexpr int kStep = kRows % 4 == 0 ? 4 : 1;
#pragma unroll
      for (int i = 0; i < kRows; i += kStep) {
        float b[kStep];
        float c[kStep];
        load_vector(inputs + n0 + i, b);
        load_vector(inputs + layout.state_pad + n0 + i, c);
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
#pragma unroll
          for (int v = 0; v < kVector; ++v) {
            s[i + k][v] = fmaf(x[v], b[k], s[i + k][v] * decay);
            y[v] = fmaf(s[i + k][v], c[k], y[v]);
          }
        }
      }
      for (int offset = layout.columns; offset < 32; offset *= 2) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) y[v] += __shfl_xor_sync(0xFFFFFFFFu, y[v], offset);
      }
      if (layout.columns >= 32 || static_cast<int>(threadIdx.x) % 32 < layout.columns) {
        float* sums = shared + token * token_floats + 2 * layout.state_pad + width * (1 + partial) + column;
        if constexpr (kVector == 4) {
          *reinterpret_cast<float4*>(sums) = make_float4(y[0], y[1], y[2], y[3]);
        } else {
          *sums = y[0];
        }
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < tokens * width; i += kThreads) {
      const int token = i / width;
      const int at = i % width;
      if (first_column + at >= shape.d_head) continue;
      const float* inputs = shared + token * token_floats + 2 * layout.state_pad + at;
      float sum = inputs[width];
      for (int k = 1; k < layout.partials; ++k) sum += inputs[width * (1 + k)];
      const float y = fmaf(skip, inputs[0], sum);
      const int64_t row = rows.first + t + token;
      T* out = args.out + row * args.out_stride + head * shape.d_head + first_column + at;
      if constexpr (!kGates) {
        *out = from_float<T>(y);
        continue;
      }
      // Threads are a multiple of the columns: the column is always the same one, and a warp has one token's.
      if (t + token > 0) gate = to_float(args.gate[row * args.gate_stride + own_column]);
      const float u = y * silu<T>(gate);
      if (args.fixed_out.scales != nullptr) {
        store_fixed(args.fixed_out, row, own_column, norm_weight * u);
      } else {
        *out = from_float<T>(norm_weight * u);
      }
      const float squares = warp_sum(u * u);
      if (threadIdx.x % 32 == 0) {
        args.squares[row * (shape.n_heads * shape.d_head / kSquareColumns) + own_column / kSquareColumns] = squares;
      }
    }
    // The next tokens' inputs take the place of these.
    if (t + layout.batch < rows.count) __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (inside && n0 + i < shape.d_state) store_state(state + i * shape.d_head, s[i]);
  }
}

template <typename T, int kVector, int kRows>
void launch(cudaStream_t stream, const ScanArguments<T>& args, int columns) {
  Layout layout{};
  layout.columns = columns;
  layout.groups = kThreads / columns;
  layout.partials = std::min(kThreads / 32, layout.groups);
  layout.slices = static_cast<int>((args.shape.d_head + columns * kVector - 1) / (columns * kVector));
  layout.state_pad = layout.groups * kRows;
  const int64_t fitting = std::max(1, 2048 / layout.state_pad);
  layout.batch = static_cast<int>(std::min({fitting, args.max_count, static_cast<int64_t>(kMaxBatch)}));
  const dim3 grid(static_cast<unsigned>(args.shape.n_heads * layout.slices), static_cast<unsigned>(args.n_sequences));
  const auto shared = static_cast<size_t>(layout.batch * layout.token_floats(kVector)) * sizeof(float);
  if constexpr (kVector == 4 && std::is_same_v<T, __nv_bfloat16>) {
    if (args.gate != nullptr) {
      launch_early(stream, recurrent_kernel<T, kVector, kRows, true>, grid, kThreads, shared, args, layout);
      return;
    }
  }
  launch_early(stream, recurrent_kernel<T, kVector, kRows, false>, grid, kThreads, shared, args, layout);
}

/// Rows of one thread are rounded up to one of a few counts, such that shared memory never has over 4096 of a token.
template <int kVector>
constexpr int kMostRows = kVector == 4 ? 32 : 64;

/// Layout::columns.
template <int kVector>
int columns_of(const ScanShape& shape) {
  const int64_t vectors = (shape.d_head + kVector - 1) / kVector;
  auto columns =
      static_cast<int>(std::min<uint64_t>(kMaxColumns / kVector, std::bit_ceil(static_cast<uint64_t>(vectors))));
  while (columns > 1 && (shape.d_state * columns + kThreads - 1) / kThreads > kMostRows<kVector>) columns /= 2;
  return columns;
}

template <typename T, int kVector>
void launch(cudaStream_t stream, const ScanArguments<T>& args) {
  const int columns = columns_of<kVector>(args.shape);
  constexpr int kMaxRows = kMostRows<kVector>;
  const auto rows = [&] { return (args.shape.d_state * columns + kThreads - 1) / kThreads; };
  if constexpr (kVector == 4) {
    if (rows() <= 4) return launch<T, kVector, 4>(stream, args, columns);
    if (rows() <= 8) return launch<T, kVector, 8>(stream, args, columns);
    if (rows() <= 16) return launch<T, kVector, 16>(stream, args, columns);
  } else {
    if (rows() <= 4) return launch<T, kVector, 4>(stream, args, columns);
    if (rows() <= 16) return launch<T, kVector, 16>(stream, args, columns);
    if (rows() <= 32) return launch<T, kVector, 32>(stream, args, columns);
  }
  launch<T, kVector, kMaxRows>(stream, args, columns);
}

}  // namespace

bool scan_gates(const ScanShape& shape) {
  if (shape.d_head % kSquareColumns != 0) return false;
  const int width = columns_of<4>(shape) * 4;
  return width % kSquareColumns == 0 && shape.d_head % width == 0;
}

template <typename T>
void scan_recurrent(cudaStream_t stream, const ScanArguments<T>& args) {
  if (args.n_sequences == 0 || args.max_count == 0) return;
  if (args.gate != nullptr && !scan_gates(args.shape)) fail(ErrorCode::internal, "a gate in a scan of another shape");
  if (args.shape.d_state > 4096) fail(ErrorCode::unsupported, "CUDA: d_state ", args.shape.d_state, " is over 4096");
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    if (scan_step_runs(args)) return scan_step(stream, args);
  }
  if (args.shape.d_head % 4 == 0) {
    launch<T, 4>(stream, args);
  } else {
    launch<T, 1>(stream, args);
  }
}

template void scan_recurrent(cudaStream_t, const ScanArguments<float>&);
template void scan_recurrent(cudaStream_t, const ScanArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
