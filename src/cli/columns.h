// Cutting [batch, columns, ...] tensors along the columns and putting pieces together again.
#pragma once

#include <bamba/tensor.h>

namespace bamba::cli {

/// Columns [begin, end) of a tensor [rows, columns, ...], copied.
Tensor slice_columns(const Tensor& tensor, int64_t begin, int64_t end);
/// Writes `piece` [rows, n, ...] to columns [begin, begin + n) of `target`.
void put_columns(const Tensor& piece, Tensor& target, int64_t begin);
/// Writes attention weights [batch, heads, n, begin + n] to rows [begin, begin + n) of `target` [batch, heads, S, S].
void put_attention(const Tensor& piece, Tensor& target, int64_t begin);

}  // namespace bamba::cli
