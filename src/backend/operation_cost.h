// What each operation of a backend takes at least: bytes moved and arithmetic done, from shapes alone.
//
// bytes: every operand and result once, however often a kernel comes back to it. flops: the plain formula's additions,
// multiplications and elementary functions, a multiply-add being two.
#pragma once

#include <bamba/profile.h>

#include <span>

#include "backend/backend.h"

namespace bamba::backend {

struct OperationCost {
  double bytes = 0;
  double flops = 0;
};

/// Which peak the products with a weight of this format are held against.
Arithmetic arithmetic_of(WeightFormat format);

OperationCost copy_cost(double bytes);
OperationCost embed_cost(const LinearWeight& table, int64_t rows);
OperationCost linear_cost(const LinearWeight& weight, int64_t rows, bool bias, bool accumulate);
OperationCost rms_norm_cost(int64_t rows, int64_t cols);
OperationCost gated_rms_norm_cost(int64_t rows, int64_t cols);
OperationCost gated_activation_cost(int64_t rows, int64_t cols);
OperationCost causal_conv_cost(int64_t rows, size_t sequences, ConvShape shape, bool bias);
/// Arithmetic as the recurrence does it, whichever form runs.
OperationCost selective_scan_cost(int64_t rows, size_t sequences, ScanShape shape);
OperationCost rotate_cost(int64_t rows, int64_t n_heads, int64_t rotary_dim);
/// token_bytes: keys and values of one token in the pages.
OperationCost kv_append_cost(int64_t rows, double token_bytes, AttentionShape shape);
OperationCost attention_cost(std::span<const SequenceRows> sequences, double token_bytes, AttentionShape shape);

}  // namespace bamba::backend
