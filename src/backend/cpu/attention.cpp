// Causal attention with a running softmax over pages: scores of one page at a time, never the whole matrix.
//
// The pages of a sequence are taken in spans of kSpanPages, counted from the sequence's start. Each span has a softmax
// of its own; the spans' sums are merged in order. Inside a span pages go in order, and inside a page all sums have a
// fixed order. So the result is the same whether a query came alone (decoding) or among others (prompt), and whether
// one thread took all spans of a query or many threads one each.
#include "backend/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/page_product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::Context;
using cpu::kPageTokens;
using cpu::PageLayout;
using cpu::Scratch;

// Query vectors of a task: all heads that share a KV head, for as many tokens as make about this many. They share
// each load of keys and values; 96 rows of scores and outputs stay in L2, and are whole tiles of 6.
constexpr int64_t kQueryRows = 96;
// 1024 tokens: merging costs a thousandth of that, and 32k tokens give 32 tasks for each KV head.
constexpr int64_t kSpanPages = 16;
// Rows from which on a page in bf16 is widened once, and not by each tile of rows anew.
constexpr int64_t kWidenRows = int64_t{3} * kPageRows;
// Memory for the sums of spans that different threads compute; past it, a thread takes all spans of its queries.
constexpr int64_t kMaxSpanSums = int64_t{16} << 20;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

/// 2^x for x <= 0, to about one unit of f32; 0 below -125, where f32 runs out of normal numbers. Half the work of a
/// general exponential: the reduction is exact, and nothing can overflow. Coefficients: Remez on [-1/2, 1/2] with the
/// constant term held at 1, relative error 3e-9.
HWY_INLINE VecF32 exp2_negative(VecF32 x) {
  const F32 d;
  const hn::RebindToSigned<F32> ints;
  const auto whole = hn::Round(x);
  const auto f = hn::Sub(x, whole);
  auto p = hn::Set(d, 0.00015594681287174614f);
  p = hn::MulAdd(p, f, hn::Set(d, 0.0013406643714997182f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.009617692959786222f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.05550310551590464f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022652783005377f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931472149677311f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto power = hn::ShiftLeft<23>(hn::ConvertTo(ints, whole));
  const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(ints, p), power));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -125.0f)), scaled);
}
HWY_INLINE float exp2_negative(float x) {
  return hn::GetLane(exp2_negative(hn::Set(F32(), x)));
}

/// What a softmax over some tokens amounts to, for each query row: weights are 2^(score - maximum).
struct Sums {
  float* outputs;  // [rows, value_stride], weighted values
  float* totals;   // [rows, kGroup], 16 partial sums of the weights
  float* maxima;   // [rows]

  static int64_t floats(int64_t rows, int64_t value_stride) { return rows * (value_stride + kGroup + 1); }
  Sums(float* memory, int64_t rows, int64_t value_stride)
      : outputs(memory), totals(outputs + rows * value_stride), maxima(totals + rows * kGroup) {}

  void clear(int64_t rows, int64_t value_stride) const {
    std::fill_n(outputs, rows * (value_stride + kGroup), 0.0f);
    std::fill_n(maxima, rows, kNegativeInfinity);
  }
};

HWY_INLINE void scale(float* values, int64_t n, float factor) {
  const auto factors = hn::Set(F32(), factor);
  for (int64_t i = 0; i < n; i += kLanes) hn::StoreU(hn::Mul(hn::LoadU(F32(), values + i), factors), F32(), values + i);
}

/// into += part, over later tokens, for rows [first, rows).
HWY_INLINE void merge(const Sums& into, const Sums& part, int64_t first, int64_t rows, int64_t value_stride) {
  for (int64_t row = first; row < rows; ++row) {
    const float maximum = std::max(into.maxima[row], part.maxima[row]);
    const auto old_factor = hn::Set(F32(), exp2_negative(into.maxima[row] - maximum));
    const auto new_factor = hn::Set(F32(), exp2_negative(part.maxima[row] - maximum));
    into.maxima[row] = maximum;
    const auto add = [&](float* sum, const float* more, int64_t n) HWY_ATTR {
      for (int64_t i = 0; i < n; i += kLanes) {
        const auto old = hn::Mul(hn::LoadU(F32(), sum + i), old_factor);
        hn::StoreU(hn::MulAdd(hn::LoadU(F32(), more + i), new_factor, old), F32(), sum + i);
      }
    };
    add(into.outputs + row * value_stride, part.outputs + row * value_stride, value_stride);
    add(into.totals + row * kGroup, part.totals + row * kGroup, kGroup);
  }
}

/// Which tokens the rows of a block of queries are and see.
struct BlockRows {
  BlockRows(const SequenceRows& sequence, int64_t token0, int64_t tokens, int64_t heads)
      : rows(tokens * heads), heads_per_kv(heads), start(sequence.start + token0) {}

  int64_t rows;  // row = token * heads per KV head + head
  int64_t heads_per_kv;
  int64_t start;  // position of the first token

  int64_t position(int64_t row) const { return start + row / heads_per_kv; }
  int64_t pages() const { return position(rows - 1) / kPageTokens + 1; }
  int64_t spans() const { return (pages() + kSpanPages - 1) / kSpanPages; }
  /// First row that sees any token of the page.
  int64_t first_row(int64_t page) const {
    return std::clamp<int64_t>((page * kPageTokens - start) * heads_per_kv, 0, rows);
  }
  int64_t visible(int64_t row, int64_t page) const {
    return std::min(kPageTokens, position(row) + 1 - page * kPageTokens);
  }
};

/// Queries that read the same keys and values.
struct QueryBlock : BlockRows {
  using BlockRows::BlockRows;
  float* queries = nullptr;  // [rows, head_dim], scaled so that 2^(q.k) is the softmax's exponential
  float* scores = nullptr;   // [rows, kPageTokens]
  float* widened = nullptr;  // keys or values of one page and head in f32, when the page has them in bf16
};

HWY_INLINE int64_t block_floats(int64_t rows, const PageLayout& layout) {
  const int64_t widened =
      layout.format == KvFormat::f32 ? 0 : kPageTokens * std::max(layout.head_dim, layout.value_stride);
  return rows * (layout.head_dim + kPageTokens) + widened;
}

HWY_INLINE QueryBlock make_block(Matrix queries, const SequenceRows& rows, int64_t token0, int64_t tokens,
                                 int64_t kv_head, const AttentionShape& shape, float* memory) {
  const int64_t heads = shape.n_heads / shape.n_kv_heads;
  QueryBlock block(rows, token0, tokens, heads);
  block.queries = memory;
  block.scores = block.queries + block.rows * shape.head_dim;
  block.widened = block.scores + block.rows * kPageTokens;
  constexpr float kLog2E = 1.44269504088896341f;
  const float factor = kLog2E / std::sqrt(static_cast<float>(shape.head_dim));
  for (int64_t row = 0; row < block.rows; ++row) {
    const float* q = queries.data + (rows.first + token0 + row / heads) * queries.stride +
                     (kv_head * heads + row % heads) * shape.head_dim;
    for (int64_t e = 0; e < shape.head_dim; ++e) block.queries[row * shape.head_dim + e] = q[e] * factor;
  }
  return block;
}

template <typename Element>
HWY_INLINE void product(const QueryBlock& block, const float* x, int64_t x_stride, int64_t rows,
                        const PageMatrix<Element>& w, float* c, bool accumulate) {
  if constexpr (!std::is_same_v<Element, float>) {
    if (rows >= kWidenRows) {
      widen(w, block.widened);
      page_product(x, x_stride, rows, PageMatrix<float>{block.widened, w.depth, w.columns}, c, w.columns, accumulate);
      return;
    }
  }
  page_product(x, x_stride, rows, w, c, w.columns, accumulate);
}

/// Scores of rows [first, block.rows) against a page; entries past what a row may see are left as they come.
template <typename Element>
HWY_INLINE void page_scores(const QueryBlock& block, int64_t first, const PageMatrix<Element>& keys) {
  product(block, block.queries + first * keys.depth, keys.depth, block.rows - first, keys,
          block.scores + first * kPageTokens, false);
}

/// Turns a row's scores into 2^(score - maximum), 0 past the first n, and brings the row's sums to that maximum.
HWY_INLINE void softmax_page(float* scores, int64_t n, const Sums& sums, int64_t row, int64_t value_stride) {
  if (n < kPageTokens) std::fill(scores + n, scores + kPageTokens, kNegativeInfinity);
  auto best = hn::LoadU(F32(), scores);
  for (int64_t i = kLanes; i < kPageTokens; i += kLanes) best = hn::Max(best, hn::LoadU(F32(), scores + i));
  const float maximum = hn::GetLane(hn::MaxOfLanes(F32(), best));
  float* totals = sums.totals + row * kGroup;
  if (maximum > sums.maxima[row]) {
    const float factor = exp2_negative(sums.maxima[row] - maximum);
    sums.maxima[row] = maximum;
    scale(totals, kGroup, factor);
    scale(sums.outputs + row * value_stride, value_stride, factor);
  }
  const auto shift = hn::Set(F32(), sums.maxima[row]);
  for (int64_t i = 0; i < kPageTokens; i += kGroup) {
    for (int64_t j = 0; j < kGroup; j += kLanes) {
      const auto weight = exp2_negative(hn::Sub(hn::LoadU(F32(), scores + i + j), shift));
      hn::StoreU(weight, F32(), scores + i + j);
      hn::StoreU(hn::Add(hn::LoadU(F32(), totals + j), weight), F32(), totals + j);
    }
  }
}

/// The sums of one span.
template <typename Element>
void attend_span(const QueryBlock& block, int64_t span, int64_t kv_head, float* const* pages, const PageLayout& layout,
                 const Sums& sums) {
  sums.clear(block.rows, layout.value_stride);
  const int64_t end = std::min((span + 1) * kSpanPages, block.pages());
  for (int64_t page = span * kSpanPages; page < end; ++page) {
    const int64_t first = block.first_row(page);
    const Element* key_data = layout.keys<Element>(pages[page], kv_head);
    const Element* value_data = layout.values<Element>(pages[page], kv_head);
    const Element* next = page + 1 < end ? layout.keys<Element>(pages[page + 1], kv_head) : value_data;
    const auto distance = [](const Element* from, const Element* to) {
      return reinterpret_cast<std::intptr_t>(to) - reinterpret_cast<std::intptr_t>(from);
    };
    page_scores(block, first,
                PageMatrix<Element>{key_data, layout.head_dim, kPageTokens, distance(key_data, value_data)});
    for (int64_t row = first; row < block.rows; ++row) {
      softmax_page(block.scores + row * kPageTokens, block.visible(row, page), sums, row, layout.value_stride);
    }
    // Tokens behind the newest visible one have weight 0 and may hold anything, so they are left out.
    const int64_t depth = block.visible(block.rows - 1, page);
    product(block, block.scores + first * kPageTokens, kPageTokens, block.rows - first,
            PageMatrix<Element>{value_data, depth, layout.value_stride, distance(value_data, next)},
            sums.outputs + first * layout.value_stride, true);
  }
}

/// One call's queries, cut into blocks.
struct Attention {
  Matrix queries;
  std::span<const SequenceRows> sequences;
  std::span<float* const* const> pages;
  const AttentionShape& shape;
  PageLayout layout;
  Matrix out;
  int64_t heads;         // per KV head
  int64_t block_tokens;  // tokens of a block
  int64_t blocks = 0;    // of all sequences: those of sequence s come before those of s + 1
  int64_t spans = 0;     // of the longest sequence

  Attention(Matrix queries_, std::span<const SequenceRows> sequences_, std::span<float* const* const> pages_,
            const AttentionShape& shape_, Matrix out_)
      : queries(queries_),
        sequences(sequences_),
        pages(pages_),
        shape(shape_),
        layout(shape_),
        out(out_),
        heads(shape.n_heads / shape.n_kv_heads) {
    int64_t longest = 1;
    for (const SequenceRows& rows : sequences) longest = std::max(longest, rows.count);
    block_tokens = std::min(longest, std::max<int64_t>(1, kQueryRows / heads));
    for (const SequenceRows& rows : sequences) {
      blocks += blocks_of(rows);
      const int64_t all_pages = (rows.start + rows.count + kPageTokens - 1) / kPageTokens;
      spans = std::max(spans, (all_pages + kSpanPages - 1) / kSpanPages);
    }
  }

  int64_t blocks_of(const SequenceRows& rows) const { return (rows.count + block_tokens - 1) / block_tokens; }
  int64_t rows() const { return block_tokens * heads; }
  int64_t sums_floats() const { return Sums::floats(rows(), layout.value_stride); }
  Sums sums(float* memory, const BlockRows& block) const { return {memory, block.rows, layout.value_stride}; }

  struct Place {
    size_t sequence;
    int64_t token0;
    int64_t tokens;
  };
  Place place(int64_t block) const {
    for (size_t s = 0;; ++s) {
      const int64_t own = blocks_of(sequences[s]);
      if (block < own) {
        const int64_t token0 = block * block_tokens;
        return {s, token0, std::min(block_tokens, sequences[s].count - token0)};
      }
      block -= own;
    }
  }

  HWY_INLINE void span(const QueryBlock& block, const Place& at, int64_t kv_head, int64_t index,
                       const Sums& result) const {
    if (layout.format == KvFormat::f32) {
      attend_span<float>(block, index, kv_head, pages[at.sequence], layout, result);
    } else {
      attend_span<uint16_t>(block, index, kv_head, pages[at.sequence], layout, result);
    }
  }

  HWY_INLINE void finish(const Place& at, int64_t kv_head, const Sums& result) const {
    for (int64_t row = 0; row < at.tokens * heads; ++row) {
      float* target = out.data + (sequences[at.sequence].first + at.token0 + row / heads) * out.stride +
                      (kv_head * heads + row % heads) * shape.head_dim;
      const float* source = result.outputs + row * layout.value_stride;
      const float inverse = 1.0f / tree_sum(result.totals + row * kGroup);
      for (int64_t e = 0; e < shape.head_dim; ++e) target[e] = source[e] * inverse;
    }
  }
};

/// A task for each block and KV head. One head's blocks follow each other, so that they find its keys and values in
/// the cache that the cores share.
void attend_blocks(Context& context, const Attention& call, int64_t work) {
  context.parallel(call.blocks * call.shape.n_kv_heads, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    const int64_t kv_head = task / call.blocks;
    const auto at = call.place(task % call.blocks);
    float* memory = scratch.floats(2 * call.sums_floats() + block_floats(call.rows(), call.layout));
    const QueryBlock block = make_block(call.queries, call.sequences[at.sequence], at.token0, at.tokens, kv_head,
                                        call.shape, memory + 2 * call.sums_floats());
    const Sums total = call.sums(memory, block);
    const Sums part = call.sums(memory + call.sums_floats(), block);
    total.clear(block.rows, call.layout.value_stride);
    for (int64_t span = 0; span < block.spans(); ++span) {
      call.span(block, at, kv_head, span, part);
      merge(total, part, block.first_row(span * kSpanPages), block.rows, call.layout.value_stride);
    }
    call.finish(at, kv_head, total);
  });
}

/// A task for each block, KV head and span; then the spans are merged.
void attend_spans(Context& context, const Attention& call, int64_t work) {
  const int64_t groups = call.blocks * call.shape.n_kv_heads;
  float* all_sums = context.shared.floats(groups * call.spans * call.sums_floats());
  const auto sums_of = [&](int64_t group, int64_t span) {
    return all_sums + (group * call.spans + span) * call.sums_floats();
  };
  context.parallel(groups * call.spans, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    const int64_t group = task / call.spans;
    const int64_t span = task % call.spans;
    const int64_t kv_head = group / call.blocks;
    const auto at = call.place(group % call.blocks);
    float* memory = scratch.floats(block_floats(call.rows(), call.layout));
    const QueryBlock block =
        make_block(call.queries, call.sequences[at.sequence], at.token0, at.tokens, kv_head, call.shape, memory);
    if (span < block.spans()) call.span(block, at, kv_head, span, call.sums(sums_of(group, span), block));
  });
  context.parallel(groups, groups * call.spans * call.sums_floats(), [&](int64_t group, Scratch& scratch) HWY_ATTR {
    const int64_t kv_head = group / call.blocks;
    const auto at = call.place(group % call.blocks);
    const BlockRows rows(call.sequences[at.sequence], at.token0, at.tokens, call.heads);
    const Sums total = call.sums(scratch.floats(call.sums_floats()), rows);
    total.clear(rows.rows, call.layout.value_stride);
    for (int64_t span = 0; span < rows.spans(); ++span) {
      merge(total, call.sums(sums_of(group, span), rows), rows.first_row(span * kSpanPages), rows.rows,
            call.layout.value_stride);
    }
    call.finish(at, kv_head, total);
  });
}

void attention(Context& context, Matrix queries, std::span<const SequenceRows> sequences,
               std::span<float* const* const> pages, const AttentionShape& shape, Matrix out) {
  const Attention call(queries, sequences, pages, shape, out);
  int64_t work = 0;
  for (const SequenceRows& rows : sequences) {
    work += rows.count * (rows.start + rows.count) * shape.n_heads * shape.head_dim * 2;
  }
  // With few blocks, single spans keep all threads busy to the end.
  const int64_t tasks = call.blocks * shape.n_kv_heads;
  const bool few = context.pool.size() > 1 && tasks < int64_t{16} * context.pool.size() && call.spans > 1;
  if (few && tasks * call.spans * call.sums_floats() <= kMaxSpanSums) {
    attend_spans(context, call, work);
  } else {
    attend_blocks(context, call, work);
  }
}

template <typename Element>
void raw_scores(const QueryBlock& block, int64_t page, int64_t kv_head, float* const* pages, const PageLayout& layout) {
  page_scores(block, 0, PageMatrix<Element>{layout.keys<Element>(pages[page], kv_head), layout.head_dim, kPageTokens});
}

void attention_weights(Context& context, Matrix queries, SequenceRows rows, float* const* pages,
                       const AttentionShape& shape, float* host, int64_t head_stride, int64_t row_stride) {
  const PageLayout layout(shape);
  const int64_t heads = shape.n_heads / shape.n_kv_heads;
  const int64_t work = rows.count * (rows.start + rows.count) * shape.n_heads * shape.head_dim;
  context.parallel(rows.count * shape.n_kv_heads, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    const int64_t token = task / shape.n_kv_heads;
    const int64_t kv_head = task % shape.n_kv_heads;
    float* memory = scratch.floats(Sums::floats(heads, 0) + block_floats(heads, layout));
    const Sums sums(memory, heads, 0);
    const QueryBlock block = make_block(queries, rows, token, 1, kv_head, shape, memory + Sums::floats(heads, 0));
    sums.clear(heads, 0);
    // First pass: raw scores to their places and the softmax's maximum and total; second pass: the weights.
    for (int64_t page = 0; page < block.pages(); ++page) {
      if (layout.format == KvFormat::f32) {
        raw_scores<float>(block, page, kv_head, pages, layout);
      } else {
        raw_scores<uint16_t>(block, page, kv_head, pages, layout);
      }
      for (int64_t row = 0; row < heads; ++row) {
        float* scores = block.scores + row * kPageTokens;
        const int64_t n = block.visible(row, page);
        float* target = host + (kv_head * heads + row) * head_stride + token * row_stride + page * kPageTokens;
        std::copy_n(scores, n, target);
        softmax_page(scores, n, sums, row, 0);
      }
    }
    const int64_t seen = block.position(0) + 1;
    for (int64_t row = 0; row < heads; ++row) {
      float* target = host + (kv_head * heads + row) * head_stride + token * row_stride;
      const auto shift = hn::Set(F32(), sums.maxima[row]);
      const auto inverse = hn::Set(F32(), 1.0f / tree_sum(sums.totals + row * kGroup));
      for (int64_t i = 0; i < seen; i += kLanes) {
        const auto weight = exp2_negative(hn::Sub(load_n(target + i, seen - i), shift));
        store_n(hn::Mul(weight, inverse), target + i, seen - i);
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
  HWY_DYNAMIC_DISPATCH(attention)(context, queries, sequences, pages, shape, out);
}
void attention_weights(Context& context, Matrix queries, SequenceRows sequence, float* const* pages,
                       const AttentionShape& shape, float* host, int64_t head_stride, int64_t row_stride) {
  HWY_DYNAMIC_DISPATCH(attention_weights)
  (context, queries, sequence, pages, shape, host, head_stride, row_stride);
}
}  // namespace cpu
}  // namespace bamba::backend
#endif
