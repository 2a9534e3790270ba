// Causal attention with a running softmax over pages: scores of one page at a time, never the whole matrix.
//
// For each query the pages are taken in order, and inside a page all sums have a fixed order, so the result is the
// same whether the query came alone (decoding) or among others (prompt).
#include "backend/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::Context;
using cpu::kPageTokens;
using cpu::PageLayout;
using cpu::Scratch;

// Query vectors of a task: all heads that share a KV head, for as many tokens as make about this many. They share
// each load of keys and values; 64 rows of scores and outputs stay in L1 / L2.
constexpr int64_t kQueryRows = 64;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

/// Running softmax of one query.
struct Running {
  float maximum;
  float total;
};

struct QueryBlock {
  int64_t rows;  // tokens * heads per KV head; row = token * heads_per_kv + head
  int64_t heads_per_kv;
  int64_t start;     // position of the first token
  float* queries;    // [rows, head_dim], already scaled
  float* scores;     // [rows, kPageTokens]
  float* outputs;    // [rows, value_stride]
  Running* running;  // [rows]

  int64_t position(int64_t row) const { return start + row / heads_per_kv; }
  /// First row that sees any token of the page.
  int64_t first_row(int64_t page) const {
    return std::clamp<int64_t>((page * kPageTokens - start) * heads_per_kv, 0, rows);
  }
  int64_t visible(int64_t row, int64_t page) const {
    return std::min(kPageTokens, position(row) + 1 - page * kPageTokens);
  }
};

/// Scores of rows [first, rows) against a page; entries past what a row may see are left as they come.
HWY_INLINE void page_scores(const QueryBlock& block, int64_t first, const float* keys, int64_t head_dim) {
  multiply(block.queries + first * head_dim, head_dim, block.rows - first, keys, kPageTokens, kPageTokens, head_dim,
           block.scores + first * kPageTokens, kPageTokens, false);
}

/// Maximum of the first n scores; masks the others with -infinity.
HWY_INLINE float mask_and_max(float* scores, int64_t n) {
  std::fill(scores + n, scores + kPageTokens, kNegativeInfinity);
  auto best = hn::LoadU(F32(), scores);
  for (int64_t i = kLanes; i < kPageTokens; i += kLanes) best = hn::Max(best, hn::LoadU(F32(), scores + i));
  return hn::GetLane(hn::MaxOfLanes(F32(), best));
}

/// Turns one row's scores into exp(score - maximum) and updates the running softmax; returns the factor by which
/// earlier sums must be multiplied.
HWY_INLINE float softmax_page(float* scores, int64_t n, Running& running) {
  const float maximum = std::max(running.maximum, mask_and_max(scores, n));
  const auto shift = hn::Set(F32(), maximum);
  RowSum sum;
  for (int64_t i = 0; i < kPageTokens; i += kLanes) {
    const auto p = exp_f32(hn::Sub(hn::LoadU(F32(), scores + i), shift));
    hn::StoreU(p, F32(), scores + i);
    sum.add(i, p);
  }
  const float factor = hn::GetLane(exp_f32(hn::Set(F32(), running.maximum - maximum)));
  running = {maximum, running.total * factor + sum.total()};
  return factor;
}

HWY_INLINE QueryBlock make_block(Matrix queries, const SequenceRows& rows, int64_t token0, int64_t tokens,
                                 int64_t kv_head, const AttentionShape& shape, int64_t value_stride, float* memory) {
  const int64_t heads = shape.n_heads / shape.n_kv_heads;
  QueryBlock block;
  block.rows = tokens * heads;
  block.heads_per_kv = heads;
  block.start = rows.start + token0;
  block.queries = memory;
  block.scores = block.queries + block.rows * shape.head_dim;
  block.outputs = block.scores + block.rows * kPageTokens;
  block.running = reinterpret_cast<Running*>(block.outputs + block.rows * value_stride);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  for (int64_t row = 0; row < block.rows; ++row) {
    const float* q = queries.data + (rows.first + token0 + row / heads) * queries.stride +
                     (kv_head * heads + row % heads) * shape.head_dim;
    for (int64_t e = 0; e < shape.head_dim; ++e) block.queries[row * shape.head_dim + e] = q[e] * scale;
    block.running[row] = {kNegativeInfinity, 0.0f};
  }
  std::fill_n(block.outputs, block.rows * value_stride, 0.0f);
  return block;
}

HWY_INLINE int64_t block_floats(int64_t rows, const AttentionShape& shape, int64_t value_stride) {
  return rows * (shape.head_dim + kPageTokens + value_stride + 2);
}

void attend(const QueryBlock& block, int64_t kv_head, float* const* pages, const PageLayout& layout) {
  const int64_t last_page = block.position(block.rows - 1) / kPageTokens;
  for (int64_t page = 0; page <= last_page; ++page) {
    const int64_t first = block.first_row(page);
    page_scores(block, first, layout.keys(pages[page], kv_head), layout.head_dim);
    for (int64_t row = first; row < block.rows; ++row) {
      const float factor = softmax_page(block.scores + row * kPageTokens, block.visible(row, page), block.running[row]);
      float* out = block.outputs + row * layout.value_stride;
      const auto factors = hn::Set(F32(), factor);
      for (int64_t e = 0; e < layout.value_stride; e += kLanes) {
        hn::StoreU(hn::Mul(hn::LoadU(F32(), out + e), factors), F32(), out + e);
      }
    }
    // Tokens behind the newest visible one have weight 0 and may hold anything, so they are left out.
    const int64_t depth = block.visible(block.rows - 1, page);
    multiply(block.scores + first * kPageTokens, kPageTokens, block.rows - first, layout.values(pages[page], kv_head),
             layout.value_stride, layout.value_stride, depth, block.outputs + first * layout.value_stride,
             layout.value_stride, true);
  }
}

void attention(Context& context, Matrix queries, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape, Matrix out) {
  const PageLayout layout(shape);
  const int64_t heads = shape.n_heads / shape.n_kv_heads;
  const int64_t block_tokens = std::max<int64_t>(1, kQueryRows / heads);
  // Sequences differ in length, so tasks are numbered through all of them: blocks of sequence s begin at first[s].
  int64_t blocks = 0;
  int64_t work = 0;
  for (const auto& rows : sequences) {
    blocks += (rows.count + block_tokens - 1) / block_tokens;
    work += rows.count * (rows.start + rows.count) * shape.n_heads * shape.head_dim * 2;
  }
  context.parallel(blocks * shape.n_kv_heads, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    int64_t index = task / shape.n_kv_heads;
    const int64_t kv_head = task % shape.n_kv_heads;
    size_t s = 0;
    for (;; ++s) {
      const int64_t own = (sequences[s].count + block_tokens - 1) / block_tokens;
      if (index < own) break;
      index -= own;
    }
    const SequenceRows& rows = sequences[s];
    const int64_t token0 = index * block_tokens;
    const int64_t tokens = std::min(block_tokens, rows.count - token0);
    float* memory = scratch.floats(block_floats(block_tokens * heads, shape, layout.value_stride));
    const QueryBlock block = make_block(queries, rows, token0, tokens, kv_head, shape, layout.value_stride, memory);
    attend(block, kv_head, pages[s], layout);
    for (int64_t row = 0; row < block.rows; ++row) {
      float* target = out.data + (rows.first + token0 + row / heads) * out.stride +
                      (kv_head * heads + row % heads) * shape.head_dim;
      const float* source = block.outputs + row * layout.value_stride;
      const float inverse = 1.0f / block.running[row].total;
      for (int64_t e = 0; e < shape.head_dim; ++e) target[e] = source[e] * inverse;
    }
  });
}

void attention_weights(Context& context, Matrix queries, SequenceRows rows, float* const* pages,
                       const AttentionShape& shape, float* host, int64_t head_stride, int64_t row_stride) {
  const PageLayout layout(shape);
  const int64_t heads = shape.n_heads / shape.n_kv_heads;
  const int64_t work = rows.count * (rows.start + rows.count) * shape.n_heads * shape.head_dim;
  context.parallel(rows.count * shape.n_kv_heads, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    const int64_t token = task / shape.n_kv_heads;
    const int64_t kv_head = task % shape.n_kv_heads;
    float* memory = scratch.floats(block_floats(heads, shape, layout.value_stride));
    const QueryBlock block = make_block(queries, rows, token, 1, kv_head, shape, layout.value_stride, memory);
    const int64_t last_page = block.position(0) / kPageTokens;
    // First pass: raw scores to their places and the softmax's maximum and total; second pass: the weights.
    for (int64_t page = 0; page <= last_page; ++page) {
      page_scores(block, 0, layout.keys(pages[page], kv_head), layout.head_dim);
      for (int64_t row = 0; row < heads; ++row) {
        float* scores = block.scores + row * kPageTokens;
        const int64_t n = block.visible(row, page);
        float* target = host + (kv_head * heads + row) * head_stride + token * row_stride + page * kPageTokens;
        std::copy_n(scores, n, target);
        softmax_page(scores, n, block.running[row]);
      }
    }
    const int64_t seen = block.position(0) + 1;
    for (int64_t row = 0; row < heads; ++row) {
      float* target = host + (kv_head * heads + row) * head_stride + token * row_stride;
      const auto shift = hn::Set(F32(), block.running[row].maximum);
      const auto inverse = hn::Set(F32(), 1.0f / block.running[row].total);
      for (int64_t i = 0; i < seen; i += kLanes) {
        const auto p = exp_f32(hn::Sub(load_n(target + i, seen - i), shift));
        store_n(hn::Mul(p, inverse), target + i, seen - i);
      }
      std::fill(target + seen, target + rows.start + rows.count, 0.0f);
    }
  });
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(attention);
HWY_EXPORT(attention_weights);

namespace cpu {
void attention(Context& context, Matrix queries, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape, Matrix out) {
  HWY_DYNAMIC_DISPATCH(backend::attention)(context, queries, sequences, pages, shape, out);
}
void attention_weights(Context& context, Matrix queries, SequenceRows sequence, float* const* pages,
                       const AttentionShape& shape, float* host, int64_t head_stride, int64_t row_stride) {
  HWY_DYNAMIC_DISPATCH(backend::attention_weights)
  (context, queries, sequence, pages, shape, host, head_stride, row_stride);
}
}  // namespace cpu
}  // namespace bamba::backend
#endif
