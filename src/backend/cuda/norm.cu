#include "backend/cuda/norm.h"

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/scan_elements.cuh"
#include "backend/cuda/warp_sum.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;

/// Sum over the block in a fixed order; every thread gets it. One call a kernel: the scratch is not reused.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float warps[kThreads / 32];
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) sum += warps[w];
  return sum;
}

/// One part of one row, as the norm's input: what both norms differ in.
template <typename T>
struct ResidualPart {
  float* residual;
  const T* add;

  template <int n>
  __device__ __forceinline__ void load(int64_t i, float (&v)[n]) const {
    load_vector(residual + i, v);
    if (add == nullptr) return;
    float more[n];
    load_vector(add + i, more);
#pragma unroll
    for (int e = 0; e < n; ++e) v[e] += more[e];
    store_vector(residual + i, v);
  }
  /// The second time round the sum is already there.
  __device__ __forceinline__ float reload(int64_t i) const {
    return residual[i];
  }
};

template <typename T>
struct GatedPart {
  const T* in;
  const T* gate;

  template <int n>
  __device__ __forceinline__ void load(int64_t i, float (&v)[n]) const {
    float z[n];
    load_vector(in + i, v);
    load_vector(gate + i, z);
#pragma unroll
    for (int e = 0; e < n; ++e) v[e] *= silu<T>(z[e]);
  }
  __device__ __forceinline__ float reload(int64_t i) const {
    float v[1];
    load(i, v);
    return v[0];
  }
};

/// Waits for the kernels before this one, with its weights already at hand.
/// kVectors > 0: the part fits into kVectors vectors a thread and stays in registers; 0: any length, read twice, one
/// element at a time. `out` may be the input: an element is read for the last time by the thread that then writes it.
template <typename T, int kVectors, typename Part>
__device__ __forceinline__ void normalise(const Part& part, const float* weight, float eps, int64_t n, T* out) {
  float squares = 0;
  if constexpr (kVectors > 0) {
    constexpr int kVector = kFullVector<T>;
    float v[kVectors][kVector];
    float weights[kVectors][kVector];
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const int64_t i = (static_cast<int64_t>(k) * kThreads + threadIdx.x) * kVector;
      if (out != nullptr && i < n) load_vector(weight + i, weights[k]);
    }
    wait_for_previous();
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const int64_t i = (static_cast<int64_t>(k) * kThreads + threadIdx.x) * kVector;
      if (i < n) {
        part.load(i, v[k]);
      } else {
#pragma unroll
        for (int e = 0; e < kVector; ++e) v[k][e] = 0;
      }
    }
    if (out == nullptr) return;
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) squares = fmaf(v[k][e], v[k][e], squares);
    }
    const float scale = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(n) + eps);
#pragma unroll
    for (int k = 0; k < kVectors; ++k) {
      const int64_t i = (static_cast<int64_t>(k) * kThreads + threadIdx.x) * kVector;
      if (i >= n) break;
#pragma unroll
      for (int e = 0; e < kVector; ++e) weights[k][e] *= v[k][e] * scale;
      store_vector(out + i, weights[k]);
    }
  } else {
    wait_for_previous();
    for (int64_t i = threadIdx.x; i < n; i += kThreads) {
      float v[1];
      part.load(i, v);
      squares = fmaf(v[0], v[0], squares);
    }
    if (out == nullptr) return;
    const float scale = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(n) + eps);
    for (int64_t i = threadIdx.x; i < n; i += kThreads) out[i] = from_float<T>(weight[i] * (part.reload(i) * scale));
  }
}

template <typename T, int kVectors>
__global__ __launch_bounds__(kThreads) void rms_norm_kernel(const RmsNormArguments<T> args) {
  let_next_begin();
  const int64_t r = blockIdx.x;
  const ResidualPart<T> part{args.residual + r * args.residual_stride,
                             args.add == nullptr ? nullptr : args.add + r * args.add_stride};
  normalise<T, kVectors>(part, args.weight, args.eps, args.cols,
                         args.out == nullptr ? nullptr : args.out + r * args.out_stride);
}

template <typename T, int kVectors>
__global__ __launch_bounds__(kThreads) void gated_rms_norm_kernel(const GatedRmsNormArguments<T> args) {
  let_next_begin();
  const int64_t r = blockIdx.x / args.groups;
  const int64_t width = args.cols / args.groups;
  const int64_t first = blockIdx.x % args.groups * width;
  const GatedPart<T> part{args.in + r * args.in_stride + first, args.gate + r * args.gate_stride + first};
  normalise<T, kVectors>(part, args.weight + first, args.eps, width, args.out + r * args.out_stride + first);
}

__global__ __launch_bounds__(kThreads) void row_factors_kernel(const RowFactorArguments args) {
  let_next_begin();
  wait_for_previous();
  const int64_t r = blockIdx.x;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < args.parts; i += kThreads) squares += args.squares[r * args.parts + i];
  const float factor = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(args.cols) + args.eps);
  __nv_bfloat16* row = args.rows + r * args.stride;
  for (int64_t i = threadIdx.x; i < args.cols; i += kThreads)
    row[i] = from_float<__nv_bfloat16>(to_float(row[i]) * factor);
}

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

/// Vectors a thread needs for n elements, or 0 when they are too many: calls body(integral_constant).
template <typename T, typename Body>
void with_vectors(bool vectors, int64_t n, Body body) {
  constexpr int64_t kElements = kThreads * kFullVector<T>;
  if (!vectors || n > 8 * kElements) {
    body(std::integral_constant<int, 0>());
  } else if (n <= kElements) {
    body(std::integral_constant<int, 1>());
  } else if (n <= 2 * kElements) {
    body(std::integral_constant<int, 2>());
  } else if (n <= 4 * kElements) {
    body(std::integral_constant<int, 4>());
  } else {
    body(std::integral_constant<int, 8>());
  }
}

}  // namespace

template <typename T>
void rms_norm(cudaStream_t stream, const RmsNormArguments<T>& args) {
  if (args.rows == 0 || args.cols == 0) return;
  constexpr int kVector = kFullVector<T>;
  const bool vectors = args.cols % kVector == 0 && args.residual_stride % 4 == 0 && args.out_stride % kVector == 0 &&
                       args.add_stride % kVector == 0 && aligned(args.residual) && aligned(args.add) &&
                       aligned(args.weight) && aligned(args.out);
  with_vectors<T>(vectors, args.cols, [&](auto count) {
    launch_early(stream, rms_norm_kernel<T, count()>, static_cast<unsigned>(args.rows), kThreads, 0, args);
  });
}

template <typename T>
void gated_rms_norm(cudaStream_t stream, const GatedRmsNormArguments<T>& args) {
  if (args.rows == 0 || args.cols == 0) return;
  constexpr int kVector = kFullVector<T>;
  const int64_t width = args.cols / args.groups;
  const bool vectors = width % kVector == 0 && args.in_stride % kVector == 0 && args.gate_stride % kVector == 0 &&
                       args.out_stride % kVector == 0 && aligned(args.in) && aligned(args.gate) &&
                       aligned(args.weight) && aligned(args.out);
  with_vectors<T>(vectors, width, [&](auto count) {
    launch_early(stream, gated_rms_norm_kernel<T, count()>, static_cast<unsigned>(args.rows * args.groups), kThreads, 0,
                 args);
  });
}

void apply_row_factors(cudaStream_t stream, const RowFactorArguments& args) {
  if (args.n_rows == 0 || args.cols == 0) return;
  launch_early(stream, row_factors_kernel, static_cast<unsigned>(args.n_rows), kThreads, 0, args);
}

template void rms_norm(cudaStream_t, const RmsNormArguments<float>&);
template void rms_norm(cudaStream_t, const RmsNormArguments<__nv_bfloat16>&);
template void gated_rms_norm(cudaStream_t, const GatedRmsNormArguments<float>&);
template void gated_rms_norm(cudaStream_t, const GatedRmsNormArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
