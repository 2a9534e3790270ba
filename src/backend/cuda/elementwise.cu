#include "backend/cuda/elementwise.h"

#include <cuda_bf16.h>

#include <algorithm>

#include "backend/cuda/check.h"
#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/elementwise_pack.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxGridRows = 65535;

// The functions of the CPU's vector-inl.h. kFast: the special function unit's exponential and division.
template <bool kFast>
struct Silu {
  __device__ float operator()(float x) const {
    if constexpr (kFast) return __fdividef(x, 1.0f + __expf(-x));
    return x / (1.0f + expf(-x));
  }
};
template <bool kFast>
struct Gelu {
  __device__ float operator()(float x) const { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }
};
template <bool kFast>
struct GeluTanh {
  __device__ float operator()(float x) const {
    const float inner = 0.79788456080286536f * fmaf(0.044715f * x * x, x, x);
    return fmaf(0.5f * x, tanhf(inner), 0.5f * x);
  }
};
template <bool kFast>
struct Relu {
  __device__ float operator()(float x) const { return fmaxf(x, 0.0f); }
};

template <typename Element, int kCount, typename Function>
__global__ __launch_bounds__(kThreads) void gated_activation_kernel(GatedActivationArguments<Element> a,
                                                                    Function function) {
  let_next_begin();
  wait_for_previous();
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount;
  if (c >= a.cols) return;
  for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y) {
    float gate[kCount];
    float up[kCount];
    load_floats(a.gate + r * a.gate_stride + c, gate);
    load_floats(a.up + r * a.up_stride + c, up);
#pragma unroll
    for (int i = 0; i < kCount; ++i) gate[i] = function(gate[i]) * up[i];
    store_floats(gate, a.gate + r * a.gate_stride + c);
  }
}

template <typename From, typename To, int kCount>
__global__ __launch_bounds__(kThreads) void copy_rows_kernel(CopyRowsArguments<From, To> a) {
  const int64_t c = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount;
  if (c >= a.cols) return;
  for (int64_t r = blockIdx.y; r < a.rows; r += gridDim.y) {
    const int64_t source = a.index == nullptr ? r : a.index[r];
    if (source < 0) continue;
    float values[kCount];
    load_floats(a.in + source * a.in_stride + c, values);
    store_floats(values, a.out + r * a.out_stride + c);
  }
}

dim3 grid_of(int64_t rows, int64_t cols, int count) {
  const int64_t columns = (cols + int64_t{kThreads} * count - 1) / (int64_t{kThreads} * count);
  return {static_cast<unsigned>(columns), static_cast<unsigned>(std::min(rows, kMaxGridRows))};
}

template <typename Element, typename Function>
void launch_gated(cudaStream_t stream, const GatedActivationArguments<Element>& a, Function function) {
  constexpr int kCount = kPackWidth<Element>;
  if (a.cols % kCount == 0 && rows_aligned(a.gate, a.gate_stride, kCount) && rows_aligned(a.up, a.up_stride, kCount)) {
    launch_early(stream, gated_activation_kernel<Element, kCount, Function>, grid_of(a.rows, a.cols, kCount), kThreads,
                 0, a, function);
  } else {
    launch_early(stream, gated_activation_kernel<Element, 1, Function>, grid_of(a.rows, a.cols, 1), kThreads, 0, a,
                 function);
  }
}

}  // namespace

template <typename Element>
void gated_activation(cudaStream_t stream, const GatedActivationArguments<Element>& a) {
  constexpr bool kFast = sizeof(Element) < sizeof(float);
  if (a.rows == 0 || a.cols == 0) return;
  switch (a.activation) {
    case Activation::silu:
      return launch_gated(stream, a, Silu<kFast>());
    case Activation::gelu:
      return launch_gated(stream, a, Gelu<kFast>());
    case Activation::gelu_tanh:
      return launch_gated(stream, a, GeluTanh<kFast>());
    case Activation::relu:
      return launch_gated(stream, a, Relu<kFast>());
  }
}

template <typename From, typename To>
void copy_rows(cudaStream_t stream, const CopyRowsArguments<From, To>& a) {
  // 8 elements where either side is bf16: 16 bytes of it, two accesses on a side in f32.
  constexpr int kCount = std::max(kPackWidth<From>, kPackWidth<To>);
  if (a.rows == 0 || a.cols == 0) return;
  if (a.cols % kCount == 0 && rows_aligned(a.in, a.in_stride, kCount) && rows_aligned(a.out, a.out_stride, kCount)) {
    copy_rows_kernel<From, To, kCount><<<grid_of(a.rows, a.cols, kCount), kThreads, 0, stream>>>(a);
  } else {
    copy_rows_kernel<From, To, 1><<<grid_of(a.rows, a.cols, 1), kThreads, 0, stream>>>(a);
  }
  BAMBA_CUDA_CHECK_LAUNCH();
}

template void gated_activation(cudaStream_t, const GatedActivationArguments<float>&);
template void gated_activation(cudaStream_t, const GatedActivationArguments<__nv_bfloat16>&);
template void copy_rows(cudaStream_t, const CopyRowsArguments<float, float>&);
template void copy_rows(cudaStream_t, const CopyRowsArguments<float, __nv_bfloat16>&);
template void copy_rows(cudaStream_t, const CopyRowsArguments<__nv_bfloat16, float>&);
template void copy_rows(cudaStream_t, const CopyRowsArguments<__nv_bfloat16, __nv_bfloat16>&);

}  // namespace bamba::backend::cuda
