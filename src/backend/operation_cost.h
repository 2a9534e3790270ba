// What each operation of a backend takes at least: bytes moved and arithmetic done, from shapes alone.
//
// bytes: every operand and result once, however often a kernel comes back to it; `element` is what the matrices hold.
// flops: the plain formula's additions, multiplications and elementary functions, a multiply-add being two.
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

double element_bytes(Element element);

OperationCost copy_cost(double bytes);
OperationCost embed_cost(const LinearWeight& table, int64_t rows);
OperationCost linear_cost(const LinearWeight& weight, int64_t rows, bool bias, bool accumulate,
                          Element in = Element::f32, Element out = Element::f32);
OperationCost rms_norm_cost(int64_t rows, int64_t cols, Element out = Element::f32);
OperationCost gated_rms_norm_cost(int64_t rows, int64_t cols, Element element = Element::f32);
OperationCost gated_activation_cost(int64_t rows, int64_t cols, Element element = Element::f32);
OperationCost causal_conv_cost(int64_t rows, size_t sequences, ConvShape shape, bool bias,
                               Element element = Element::f32);
/// Arithmetic as the recurrence does it, whichever form runs.
OperationCost selective_scan_cost(int64_t rows, size_t sequences, ScanShape shape, Element element = Element::f32);
OperationCost rotate_cost(int64_t rows, int64_t n_heads, int64_t rotary_dim, Element element = Element::f32);
/// token_bytes: keys and values of one token in the pages.
OperationCost kv_append_cost(int64_t rows, double token_bytes, AttentionShape shape, Element element = Element::f32);
OperationCost attention_cost(std::span<const SequenceRows> sequences, double token_bytes, AttentionShape shape,
                             Element element = Element::f32);

}  // namespace bamba::backend
