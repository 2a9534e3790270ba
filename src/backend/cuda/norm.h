// RMS norms: of the residual stream (optionally with what a block adds to it), and of the gated Mamba output.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace bamba::backend::cuda {

/// T: float or __nv_bfloat16. Pointers are to device memory; strides in elements.
template <typename T>
struct RmsNormArguments {
  float* residual;  ///< [rows, cols]; written only when `add` is given
  int64_t residual_stride;
  const T* add;  ///< [rows, cols], or null: residual += add before the norm
  int64_t add_stride;
  const float* weight;  ///< [cols]
  float eps;
  int64_t rows;
  int64_t cols;
  T* out;  ///< [rows, cols]; may be null when only the sum is wanted
  int64_t out_stride;
};

/// out[r] = weight * residual[r] / sqrt(mean(residual[r]^2) + eps), all in f32, one rounding at the end.
/// A row's bits depend on the row and the alignment of pointers and strides only. Fast: cols up to 8192, all a multiple
/// of 16 bytes of T.
template <typename T>
void rms_norm(cudaStream_t stream, const RmsNormArguments<T>& arguments);

template <typename T>
struct GatedRmsNormArguments {
  const T* in;  ///< [rows, cols]
  int64_t in_stride;
  const T* gate;  ///< [rows, cols]
  int64_t gate_stride;
  const float* weight;  ///< [cols]
  float eps;
  int64_t groups;  ///< divides cols
  int64_t rows;
  int64_t cols;
  T* out;  ///< [rows, cols]; may be in
  int64_t out_stride;
};

/// u = in * silu(gate); out[r] = weight * u / sqrt(mean(u^2) + eps), the mean over each of `groups` equal parts.
/// u stays in f32. Bits as with rms_norm. Fast: parts of up to 8192 elements, all a multiple of 16 bytes of T.
template <typename T>
void gated_rms_norm(cudaStream_t stream, const GatedRmsNormArguments<T>& arguments);

struct RowFactorArguments {
  __nv_bfloat16* rows;  ///< [rows, cols]
  int64_t stride;
  const float* squares;  ///< [rows, parts]
  int64_t parts;
  float eps;
  int64_t n_rows;
  int64_t cols;
};

/// rows[r] *= 1 / sqrt(sum(squares[r]) / cols + eps): what a ProductInput lacks.
void apply_row_factors(cudaStream_t stream, const RowFactorArguments& arguments);

extern template void rms_norm(cudaStream_t, const RmsNormArguments<float>&);
extern template void rms_norm(cudaStream_t, const RmsNormArguments<__nv_bfloat16>&);
extern template void gated_rms_norm(cudaStream_t, const GatedRmsNormArguments<float>&);
extern template void gated_rms_norm(cudaStream_t, const GatedRmsNormArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
