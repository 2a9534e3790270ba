// Writing to and reading from KV pages: plain copies between layouts.
#include "backend/cpu/attention.h"

namespace bamba::backend::cpu {
namespace {

/// The place of one token of one KV head; element e of its key is key[e * kPageTokens], of its value value[e].
struct TokenSlot {
  float* key;
  float* value;
};

TokenSlot token_slot(const PageLayout& layout, float* const* pages, int64_t token, int64_t kv_head) {
  float* page = pages[token / kPageTokens];
  const int64_t in_page = token % kPageTokens;
  return {layout.keys(page, kv_head) + in_page, layout.values(page, kv_head) + in_page * layout.value_stride};
}

}  // namespace

void kv_append(Context& context, Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape) {
  const PageLayout layout(shape);
  const auto tasks = static_cast<int64_t>(sequences.size()) * shape.n_kv_heads;
  context.parallel(tasks, keys.rows * shape.n_kv_heads * shape.head_dim * 4, [&](int64_t task, Scratch&) {
    const auto s = static_cast<size_t>(task / shape.n_kv_heads);
    const int64_t h = task % shape.n_kv_heads;
    const SequenceRows& rows = sequences[s];
    for (int64_t t = 0; t < rows.count; ++t) {
      const TokenSlot slot = token_slot(layout, pages[s], rows.start + t, h);
      const float* key = keys.data + (rows.first + t) * keys.stride + h * shape.head_dim;
      const float* value = values.data + (rows.first + t) * values.stride + h * shape.head_dim;
      for (int64_t e = 0; e < shape.head_dim; ++e) {
        slot.key[e * kPageTokens] = key[e];
        slot.value[e] = value[e];
      }
    }
  });
}

void kv_read(float* const* pages, int64_t tokens, const AttentionShape& shape, float* keys, float* values) {
  const PageLayout layout(shape);
  for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      const TokenSlot slot = token_slot(layout, pages, t, h);
      for (int64_t e = 0; e < shape.head_dim; ++e) {
        *keys++ = slot.key[e * kPageTokens];
        *values++ = slot.value[e];
      }
    }
  }
}

void kv_write(float* const* pages, int64_t tokens, const AttentionShape& shape, const float* keys,
              const float* values) {
  const PageLayout layout(shape);
  for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
    for (int64_t t = 0; t < tokens; ++t) {
      const TokenSlot slot = token_slot(layout, pages, t, h);
      for (int64_t e = 0; e < shape.head_dim; ++e) {
        slot.key[e * kPageTokens] = *keys++;
        slot.value[e] = *values++;
      }
    }
  }
}

}  // namespace bamba::backend::cpu
