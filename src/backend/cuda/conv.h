// Causal depthwise convolution over the sequences of a pass, with each sequence's window of earlier inputs.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backend/backend.h"

namespace bamba::backend::cuda {

/// T: float or __nv_bfloat16. Pointers are to device memory.
template <typename T>
struct ConvArguments {
  const T* in;  ///< [rows, channels], row stride in_stride; may be a column block
  int64_t in_stride;
  const SequenceRows* sequences;  ///< [n_sequences], `first` not decreasing; count 0: no work
  int64_t n_sequences;
  int64_t rows;           ///< every first + count is at most this
  int64_t max_count;      ///< every count is at most this; 1 (pure decoding) saves the search for a row's sequence
  float* const* windows;  ///< [n_sequences] pointers to [width, channels], 16-byte aligned, oldest inputs first
  const float* weight;    ///< [width, channels]
  const float* bias;      ///< [channels], or null
  ConvShape shape;
  Activation activation;
  T* out;  ///< [rows, channels], row stride out_stride; not overlapping in
  int64_t out_stride;
};

/// out[t, c] = act(bias[c] + sum_k weight[k, c] * in[t - width + 1 + k, c]), inputs before a sequence's first row taken
/// from its window, which then moves on to the sequence's last `width` inputs. f32 sums, k ascending.
/// Bits depend on a row's own sequence only, not on how it is cut into passes, except in which width is compiled in:
/// never within a model. Fast: width 4, channels and strides multiples of 16 bytes of T.
template <typename T>
void causal_conv(cudaStream_t stream, const ConvArguments<T>& arguments);

extern template void causal_conv(cudaStream_t, const ConvArguments<float>&);
extern template void causal_conv(cudaStream_t, const ConvArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
