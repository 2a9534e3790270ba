// The two operations with a state: causal convolution and selective scan.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

void causal_conv(Context& context, Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                 const float* weight, const float* bias, ConvShape shape, Activation activation, Matrix out);

/// Per row and head: Delta = clamp(softplus(dt + dt_bias)) and Delta * A. delta, log_decay: [rows, n_heads].
void time_steps(Context& context, Matrix dt, const float* a, const float* dt_bias, const ScanShape& shape, float* delta,
                float* log_decay);

struct ScanArguments {
  Matrix xbc;
  std::span<const SequenceRows> sequences;
  std::span<float* const> states;
  const float* delta;      // [rows, n_heads]
  const float* log_decay;  // [rows, n_heads], Delta * A
  const float* d;          // [n_heads]
  ScanShape shape;
  Matrix out;

  const float* x(int64_t row, int64_t head) const { return xbc.data + row * xbc.stride + head * shape.d_head; }
  const float* b(int64_t row, int64_t group) const {
    return xbc.data + row * xbc.stride + shape.n_heads * shape.d_head + group * shape.d_state;
  }
  const float* c(int64_t row, int64_t group) const { return b(row, group) + shape.n_groups * shape.d_state; }
};

/// s_t = exp(Delta_t A) s_{t-1} + Delta_t x_t (x) B_t; y_t = s_t C_t + D x_t, token by token.
void scan_recurrent(Context& context, const ScanArguments& arguments);
/// The same function by Mamba-2's block decomposition ("Transformers are SSMs", Dao & Gu 2024, section 6).
void scan_chunked(Context& context, const ScanArguments& arguments);

}  // namespace bamba::backend::cpu
