// Operations that look at one element, or one row, at a time: activations, conversions, gathers and the embedding.
//
// Every result depends on its own row only and is the same in every run. No call allocates or waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "backend/backend.h"

namespace bamba::backend::cuda {

/// gate[r, c] = act(gate[r, c]) * up[r, c], in f32, rounded once. gate and up may be column blocks of one matrix.
template <typename Element>
struct GatedActivationArguments {
  Element* gate;
  int64_t gate_stride;
  const Element* up;
  int64_t up_stride;
  int64_t rows;
  int64_t cols;
  Activation activation;
};
/// Element: float or __nv_bfloat16. For bf16 the exponentials are the fast ones (2 units of f32 off, a hundredth of
/// the final rounding).
template <typename Element>
void gated_activation(cudaStream_t stream, const GatedActivationArguments<Element>& arguments);

/// out[r] = in[index[r]], or in[r] where index is null; rows whose index is negative are left alone. The embedding is
/// this with the token ids as index and the table as `in`. To bf16 rounds to nearest even.
template <typename From, typename To>
struct CopyRowsArguments {
  const From* in;
  int64_t in_stride;
  const int32_t* index;  ///< device, [rows], or null
  To* out;
  int64_t out_stride;
  int64_t rows;
  int64_t cols;
};
/// From, To: float or __nv_bfloat16.
template <typename From, typename To>
void copy_rows(cudaStream_t stream, const CopyRowsArguments<From, To>& arguments);

}  // namespace bamba::backend::cuda
