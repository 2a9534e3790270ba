// Selective scan of Mamba-2: as a recurrence (decoding, and prompts bit by bit alike) and by block decomposition on
// tensor cores (prompts).
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/fixed_rows.h"

namespace bamba::backend::cuda {

/// T: float or __nv_bfloat16. Pointers are to device memory; strides in elements. Rows as Backend::selective_scan has
/// them: x [n_heads, d_head] | B [n_groups, d_state] | C [n_groups, d_state].
template <typename T>
struct ScanArguments {
  const T* xbc;  ///< [rows, n_heads * d_head + 2 * n_groups * d_state], row stride xbc_stride
  int64_t xbc_stride;
  const T* dt;  ///< [rows, n_heads], before bias and softplus, row stride dt_stride
  int64_t dt_stride;
  const SequenceRows* sequences;  ///< [n_sequences], `first` not decreasing; count 0: no work
  int64_t n_sequences;            ///< at most 65535
  int64_t rows;                   ///< every first + count is at most this
  int64_t max_count;              ///< every count is at most this
  float* const* states;           ///< [n_sequences] pointers to [n_heads, d_state, d_head], 16-byte aligned
  const float* a;                 ///< [n_heads], -exp(A_log)
  const float* d;                 ///< [n_heads]
  const float* dt_bias;           ///< [n_heads]
  ScanShape shape;
  T* out;  ///< [rows, n_heads * d_head], row stride out_stride
  int64_t out_stride;
  void* workspace = nullptr;  ///< scan_chunked only: scan_chunked_workspace_bytes, aligned to 16 bytes
  // scan_recurrent of a shape that scan_gates() only, or null: out = norm_weight * u, u = y silu(gate), and of each
  // kSquareColumns neighbouring u of a row the sum of squares.
  const T* gate = nullptr;  ///< [rows, n_heads * d_head], row stride gate_stride
  int64_t gate_stride = 0;
  const float* norm_weight = nullptr;  ///< [n_heads * d_head]
  float* squares = nullptr;            ///< [rows, n_heads * d_head / kSquareColumns]
  FixedRows fixed_out = {};            ///< with a gate: where the results go instead of to `out`, if anywhere
};

/// Delta = clamp(softplus(dt + dt_bias)); s_t = exp(Delta a) s_{t-1} + Delta x_t (x) B_t; y_t = s_t C_t + D x_t, token
/// by token, all in f32 with the state in registers.
/// A row's bits depend on its own sequence only, whatever the cut. Any shape with d_state <= 4096; fast with d_head a
/// multiple of 4. Decoding is this function with counts of 1.
template <typename T>
void scan_recurrent(cudaStream_t stream, const ScanArguments<T>& arguments);

/// Columns of a row whose squares are summed together, a group of fixed point too, and whether scan_recurrent() of a
/// shape can do that.
constexpr int kSquareColumns = 32;
static_assert(kSquareColumns == kFixedGroup);
bool scan_gates(const ScanShape& shape);

/// The same function by blocks of 64 tokens, where the shape allows: bf16, d_head 64, d_state 64 or 128, chunk_size a
/// multiple of 64. Blocks end at multiples of 64 tokens from the sequence's start, so every chunk boundary is one, and
/// a cut at any of them leaves all bits the same. Products have bf16 operands (x, B and C as they are; decayed scores,
/// decayed inputs and the state entering a block rounded to bf16) and f32 sums; states are carried in f32.
/// Other shapes, and f32, are left to scan_recurrent, which needs no more arithmetic than the blocks do without tensor
/// cores and keeps the stronger promise; which of the two runs depends on shapes, strides and alignment alone.
template <typename T>
void scan_chunked(cudaStream_t stream, const ScanArguments<T>& arguments);

/// For passes of up to `rows` rows and n_sequences sequences.
size_t scan_chunked_workspace_bytes(const ScanShape& shape, int64_t rows, int64_t n_sequences);

extern template void scan_recurrent(cudaStream_t, const ScanArguments<float>&);
extern template void scan_recurrent(cudaStream_t, const ScanArguments<__nv_bfloat16>&);
template <>
void scan_chunked(cudaStream_t stream, const ScanArguments<float>& arguments);
template <>
void scan_chunked(cudaStream_t stream, const ScanArguments<__nv_bfloat16>& arguments);

}  // namespace bamba::backend::cuda
