// Attention over paged keys and values.
//
// A page holds kPageTokens tokens of one layer: for each KV head first the keys, [head_dim][kPageTokens] (lanes along
// tokens, so that scores need no horizontal sums), then the values, [kPageTokens][head_dim rounded up to 16].
#pragma once

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

constexpr int64_t kPageTokens = 64;

struct PageLayout {
  explicit PageLayout(const AttentionShape& shape)
      : head_dim(shape.head_dim),
        value_stride((shape.head_dim + 15) / 16 * 16),
        head_floats(kPageTokens * (head_dim + value_stride)),
        page_floats(head_floats * shape.n_kv_heads) {}

  float* keys(float* page, int64_t kv_head) const { return page + kv_head * head_floats; }
  float* values(float* page, int64_t kv_head) const { return keys(page, kv_head) + head_dim * kPageTokens; }

  int64_t head_dim;
  int64_t value_stride;
  int64_t head_floats;
  int64_t page_floats;
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
