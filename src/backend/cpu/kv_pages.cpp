// Writing to and reading from KV pages: copies between layouts, and the rounding to bf16.
#include <bamba/dtype.h>

#include "backend/cpu/attention.h"

namespace bamba::backend::cpu {
namespace {

/// How the pages hold a number, and where a column stands in a row.
struct F32Element {
  using Type = float;
  static float store(float value) { return value; }
  static float load(float value) { return value; }
  static int64_t place(int64_t column) { return column; }
};
struct Bf16Element {
  using Type = uint16_t;
  static uint16_t store(float value) { return to_bf16(value).bits; }
  static float load(uint16_t bits) { return to_float(bf16_t{bits}); }
  static int64_t place(int64_t column) { return paired_place(column); }
};

template <typename Body>
void with_element(KvFormat format, Body body) {
  if (format == KvFormat::f32) {
    body(F32Element());
  } else {
    body(Bf16Element());
  }
}

/// The place of one token of one KV head; element e of its key is key[e * kPageTokens], of its value
/// value[place(e)].
template <typename Element>
struct TokenSlot {
  using Type = typename Element::Type;
  TokenSlot(const PageLayout& layout, float* const* pages, int64_t token, int64_t kv_head)
      : key(layout.keys<Type>(pages[token / kPageTokens], kv_head) + Element::place(token % kPageTokens)),
        value(layout.values<Type>(pages[token / kPageTokens], kv_head) + token % kPageTokens * layout.value_stride) {}

  void write(const float* key_values, const float* value_values, int64_t head_dim) const {
    for (int64_t e = 0; e < head_dim; ++e) key[e * kPageTokens] = Element::store(key_values[e]);
    for (int64_t e = 0; e < head_dim; ++e) value[Element::place(e)] = Element::store(value_values[e]);
  }
  void read(float* key_values, float* value_values, int64_t head_dim) const {
    for (int64_t e = 0; e < head_dim; ++e) key_values[e] = Element::load(key[e * kPageTokens]);
    for (int64_t e = 0; e < head_dim; ++e) value_values[e] = Element::load(value[Element::place(e)]);
  }

  Type* key;
  Type* value;
};

}  // namespace

void kv_append(Context& context, Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape) {
  const PageLayout layout(shape);
  const auto tasks = static_cast<int64_t>(sequences.size()) * shape.n_kv_heads;
  with_element(shape.kv, [&]<typename Element>(Element) {
    context.parallel(tasks, keys.rows * shape.n_kv_heads * shape.head_dim * 4, [&](int64_t task, Scratch&) {
      const auto s = static_cast<size_t>(task / shape.n_kv_heads);
      const int64_t h = task % shape.n_kv_heads;
      const SequenceRows& rows = sequences[s];
      for (int64_t t = 0; t < rows.count; ++t) {
        const int64_t row = rows.first + t;
        TokenSlot<Element>(layout, pages[s], rows.start + t, h)
            .write(keys.data + row * keys.stride + h * shape.head_dim,
                   values.data + row * values.stride + h * shape.head_dim, shape.head_dim);
      }
    });
  });
}

void kv_read(float* const* pages, int64_t tokens, const AttentionShape& shape, float* keys, float* values) {
  const PageLayout layout(shape);
  with_element(shape.kv, [&]<typename Element>(Element) {
    for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t at = (h * tokens + t) * shape.head_dim;
        TokenSlot<Element>(layout, pages, t, h).read(keys + at, values + at, shape.head_dim);
      }
    }
  });
}

void kv_write(float* const* pages, int64_t tokens, const AttentionShape& shape, const float* keys,
              const float* values) {
  const PageLayout layout(shape);
  with_element(shape.kv, [&]<typename Element>(Element) {
    for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t at = (h * tokens + t) * shape.head_dim;
        TokenSlot<Element>(layout, pages, t, h).write(keys + at, values + at, shape.head_dim);
      }
    }
  });
}

}  // namespace bamba::backend::cpu
