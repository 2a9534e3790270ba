// Attention over paged keys and values.
//
// A page holds kPageTokens tokens of one layer: for each KV head first the keys, [head_dim][kPageTokens] (lanes along
// tokens, so that scores need no horizontal sums), then the values, [kPageTokens][value_stride].
//
// In bf16, columns i and i + 16 of every 32 are neighbours: one 32-bit lane holds both, and a shift and a mask make
// two vectors of f32 of it, each in the order of the columns, whatever the vector's width.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

constexpr int64_t kPageTokens = 64;
/// Columns that are stored as pairs together, in bf16.
constexpr int64_t kPairedColumns = 32;

/// Place of a column in a row of bf16.
constexpr int64_t paired_place(int64_t column) {
  const int64_t in_group = column % kPairedColumns;
  return column - in_group + in_group % (kPairedColumns / 2) * 2 + in_group / (kPairedColumns / 2);
}

struct PageLayout {
  explicit PageLayout(const AttentionShape& shape)
      : format(shape.kv),
        head_dim(shape.head_dim),
        value_stride(round_up(shape.head_dim, format == KvFormat::f32 ? 16 : kPairedColumns)),
        element_bytes(format == KvFormat::f32 ? 4 : 2),
        head_bytes(kPageTokens * (head_dim + value_stride) * element_bytes),
        page_bytes(head_bytes * shape.n_kv_heads) {}

  static constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

  /// Element: float, or uint16_t for the bits of a bf16.
  template <typename Element>
  Element* keys(float* page, int64_t kv_head) const {
    return reinterpret_cast<Element*>(reinterpret_cast<std::byte*>(page) + kv_head * head_bytes);
  }
  template <typename Element>
  Element* values(float* page, int64_t kv_head) const {
    return keys<Element>(page, kv_head) + head_dim * kPageTokens;
  }

  KvFormat format;
  int64_t head_dim;
  int64_t value_stride;  // elements
  int64_t element_bytes;
  int64_t head_bytes;
  int64_t page_bytes;
};

void kv_append(Context& context, Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape);
void kv_read(float* const* pages, int64_t tokens, const AttentionShape& shape, float* keys, float* values);
void kv_write(float* const* pages, int64_t tokens, const AttentionShape& shape, const float* keys, const float* values);

void attention(Context& context, Matrix queries, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape, Matrix out);
void attention_weights(Context& context, Matrix queries, SequenceRows sequence, float* const* pages,
                       const AttentionShape& shape, float* host, int64_t head_stride, int64_t row_stride);

}  // namespace bamba::backend::cpu
