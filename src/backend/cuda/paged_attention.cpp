#include "backend/cuda/paged_attention.h"

#include <bit>

#include "backend/cuda/check.h"
#include "backend/cuda/rope.h"

namespace bamba::backend::cuda {
namespace {

template <typename T>
struct SpansCall {
  AttentionArguments<T> attention;
  SpansArguments spans;
};
template <typename T>
void run_spans(cudaStream_t stream, const SpansCall<T>& call) {
  attention_spans(stream, call.attention, call.spans);
}

/// Sequences with more new tokens take the prompts' attention kernel.
constexpr int64_t kSpanCount = 16;
/// The most scratch memory that attention by spans takes.
constexpr size_t kSpansBytes = size_t{256} << 20;

/// A bound of a length that grows token by token: the next of four steps in each power of two, so that it changes
/// rarely and a graph serves many steps.
int64_t length_bound(int64_t length) {
  constexpr int64_t kLeast = 1024;
  if (length <= kLeast) return kLeast;
  const auto step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(length - 1))) / 4;
  return (length + step - 1) / step * step;
}

size_t pages_of(int64_t tokens) {
  return static_cast<size_t>((tokens + kPageTokens - 1) / kPageTokens);
}
/// What stage_paged() stages beside the sequences.
size_t table_bytes(std::span<const SequenceRows> sequences) {
  size_t bytes = 0;
  for (const SequenceRows& rows : sequences) bytes += pages_of(length_bound(rows.start + rows.count)) + 2;
  return bytes * sizeof(float*);
}

}  // namespace

float* const* PagedAttention::stage_table(float* const* pages, int64_t tokens) {
  context_.queue.make_room(pages_of(tokens) * sizeof(float*), 1);
  return lists_.stage(std::span<float* const>(pages, pages_of(tokens)));
}

PagedSequences PagedAttention::stage_paged(std::span<const SequenceRows> sequences,
                                           std::span<float* const* const> pages) {
  tables_.clear();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int64_t tokens = sequences[s].start + sequences[s].count;
    table_.assign(pages_of(length_bound(tokens)), nullptr);
    std::copy_n(pages[s], pages_of(tokens), table_.begin());
    tables_.push_back(lists_.stage_list(table_));
  }
  return {lists_.stage(sequences), lists_.stage_list(tables_)};
}

template <typename T>
void PagedAttention::by_spans(AttentionArguments<T> arguments) {
  const int64_t tile_rows = span_tile_rows<T>(arguments.shape, most_new_tokens(short_));
  const auto list = attention_tiles(short_, arguments.shape, tile_rows);
  lists_.make_room(short_.size(), table_bytes(short_) + list.size() * sizeof(AttentionTile));
  arguments.sequences = stage_paged(short_, short_pages_);
  arguments.tiles = lists_.stage_list(list);
  arguments.n_tiles = std::ssize(list);
  int64_t longest = 0;
  for (const SequenceRows& rows : short_) longest = std::max(longest, rows.start + rows.count);
  auto call = blank<SpansCall<T>>();
  call.attention = arguments;
  call.spans.tile_rows = tile_rows;
  call.spans.max_tokens = length_bound(longest);
  const size_t all =
      attention_spans_workspace_bytes<T>(arguments.shape, arguments.n_tiles, tile_rows, call.spans.max_tokens);
  const size_t one = attention_spans_workspace_bytes<T>(arguments.shape, 1, tile_rows, call.spans.max_tokens);
  call.spans.workspace_bytes = std::max(one, std::min(all, kSpansBytes));
  call.spans.workspace = context_.scratch(CudaContext::spans, call.spans.workspace_bytes);
  context_.queue.push(&run_spans<T>, call);
}

void PagedAttention::kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                               std::span<float* const* const> pages, AttentionShape shape) {
  if (keys.rows == 0) return;
  row_sequence_.assign(static_cast<size_t>(keys.rows), -1);
  for (size_t s = 0; s < sequences.size(); ++s) {
    std::fill_n(row_sequence_.begin() + sequences[s].first, sequences[s].count, static_cast<int32_t>(s));
  }
  with_element(keys.element, [&]<typename T>(T) {
    auto arguments = blank<RopeArguments<T>>();
    arguments.keys = as<T>(keys.data);
    arguments.key_stride = keys.stride;
    arguments.values = as<T>(values.data);
    arguments.value_stride = values.stride;
    arguments.rows = keys.rows;
    arguments.shape = shape;
    arguments.shape.rotary_dim = 0;  // they have been turned
    lists_.make_room(sequences.size(), row_sequence_.size() * sizeof(int32_t) + table_bytes(sequences));
    arguments.row_sequence = lists_.stage_list(row_sequence_);
    arguments.sequences = stage_paged(sequences, pages);
    context_.queue.push(&rope<T>, arguments);
  });
}

void PagedAttention::kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values) {
  if (tokens == 0) return;
  const size_t bytes = static_cast<size_t>(shape.n_kv_heads * tokens * shape.head_dim) * sizeof(float);
  auto* memory = static_cast<float*>(context_.scratch(CudaContext::copies, 2 * bytes));
  const KvCopyArguments arguments{stage_table(pages, tokens), tokens, shape};
  context_.queue.flush();
  cuda::kv_read(context_.stream, arguments, memory, memory + bytes / sizeof(float));
  context_.download(keys, memory, bytes);
  context_.download(values, memory + bytes / sizeof(float), bytes);
}

void PagedAttention::kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys,
                              const float* values) {
  if (tokens == 0) return;
  const size_t bytes = static_cast<size_t>(shape.n_kv_heads * tokens * shape.head_dim) * sizeof(float);
  auto* memory = static_cast<float*>(context_.scratch(CudaContext::copies, 2 * bytes));
  const KvCopyArguments arguments{stage_table(pages, tokens), tokens, shape};
  context_.queue.flush();
  BAMBA_CUDA_CHECK(cudaMemcpyAsync(memory, keys, bytes, cudaMemcpyHostToDevice, context_.stream));
  BAMBA_CUDA_CHECK(
      cudaMemcpyAsync(memory + bytes / sizeof(float), values, bytes, cudaMemcpyHostToDevice, context_.stream));
  cuda::kv_write(context_.stream, arguments, memory, memory + bytes / sizeof(float));
  context_.queue.finish();
}

void PagedAttention::attention(Matrix queries, std::span<const SequenceRows> sequences,
                               std::span<float* const* const> pages, AttentionShape shape, Matrix out) {
  if (queries.rows == 0) return;
  with_element(queries.element, [&]<typename T>(T) {
    auto arguments = blank<AttentionArguments<T>>();
    arguments.queries = as<T>(queries.data);
    arguments.query_stride = queries.stride;
    arguments.out = as<T>(out.data);
    arguments.out_stride = out.stride;
    arguments.shape = shape;
    // Prompts and decoding sequences of one pass are separate lists.
    const bool tiles = !bit_exact_ && attention_prefill_runs(arguments);
    long_.clear();
    long_pages_.clear();
    short_.clear();
    short_pages_.clear();
    for (size_t s = 0; s < sequences.size(); ++s) {
      const bool is_long = tiles && sequences[s].count > kSpanCount;
      (is_long ? long_ : short_).push_back(sequences[s]);
      (is_long ? long_pages_ : short_pages_).push_back(pages[s]);
    }
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {  // the prompts' kernel is for tensor cores
      if (!long_.empty()) {
        const auto list = attention_tiles(long_, shape, kPrefillTileRows);
        lists_.make_room(long_.size(), table_bytes(long_) + list.size() * sizeof(AttentionTile));
        arguments.sequences = stage_paged(long_, long_pages_);
        arguments.tiles = lists_.stage(std::span<const AttentionTile>(list));
        arguments.n_tiles = std::ssize(list);
        context_.queue.push(&attention_prefill<T>, arguments);
      }
    }
    if (!short_.empty()) by_spans(arguments);
  });
}

void PagedAttention::attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape,
                                       float* host, int64_t head_stride, int64_t row_stride) {
  const int64_t total = sequence.start + sequence.count;
  const size_t bytes = static_cast<size_t>(shape.n_heads * sequence.count * total) * sizeof(float);
  with_element(queries.element, [&]<typename T>(T) {
    auto arguments = blank<AttentionWeightsArguments<T>>();
    arguments.queries = as<T>(queries.data);
    arguments.query_stride = queries.stride;
    arguments.sequence = sequence;
    arguments.pages = stage_table(pages, total);
    arguments.shape = shape;
    arguments.weights = static_cast<float*>(context_.scratch(CudaContext::copies, bytes));
    arguments.head_stride = sequence.count * total;
    arguments.row_stride = total;
    context_.queue.push(&cuda::attention_weights<T>, arguments);
    host_weights_.resize(bytes / sizeof(float));
    context_.download(host_weights_.data(), arguments.weights, bytes);
  });
  for (int64_t h = 0; h < shape.n_heads; ++h) {
    for (int64_t t = 0; t < sequence.count; ++t) {
      std::copy_n(host_weights_.data() + (h * sequence.count + t) * total, total,
                  host + h * head_stride + t * row_stride);
    }
  }
}

}  // namespace bamba::backend::cuda
