// The Backend interface over the CUDA kernels.
#include <cuda_bf16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend/cuda/attention.h"
#include "backend/cuda/best_columns.h"
#include "backend/cuda/check.h"
#include "backend/cuda/conv.h"
#include "backend/cuda/cuda_roof.h"
#include "backend/cuda/cuda_weight.h"
#include "backend/cuda/elementwise.h"
#include "backend/cuda/norm.h"
#include "backend/cuda/quantized_rows.h"
#include "backend/cuda/rope.h"
#include "backend/cuda/scan.h"
#include "base/str.h"

namespace bamba::backend {
namespace {

using namespace cuda;  // NOLINT: this file is the CUDA backend

/// Arguments whose padding is zero too: the queue compares them byte by byte.
template <typename Arguments>
Arguments blank() {
  Arguments arguments;
  std::memset(static_cast<void*>(&arguments), 0, sizeof(arguments));
  return arguments;
}

template <typename T>
T* as(float* data) {
  return reinterpret_cast<T*>(data);
}

/// Calls body with a value of the matrix's element type.
template <typename Body>
void with_element(Element element, Body body) {
  if (element == Element::f32) {
    body(float());
  } else {
    body(__nv_bfloat16());
  }
}

struct GemmCall {
  CublasGemm* gemm;
  GemmArguments arguments;
};
void run_gemm(cudaStream_t stream, const GemmCall& call) {
  call.gemm->run(stream, call.arguments);
}

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
/// The most scratch memory that products with quantized weights unpack into, and that attention by spans takes.
constexpr size_t kUnpackedBytes = size_t{128} << 20;
constexpr size_t kSpansBytes = size_t{256} << 20;

/// A bound of a length that grows token by token: the next of four steps in each power of two, so that it changes
/// rarely and a graph serves many steps.
int64_t length_bound(int64_t length) {
  constexpr int64_t kLeast = 1024;
  if (length <= kLeast) return kLeast;
  const auto step = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(length - 1))) / 4;
  return (length + step - 1) / step * step;
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : element_(options.activations == ActivationFormat::bf16 ? Element::bf16 : Element::f32),
        bit_exact_(options.bit_exact),
        context_(options),
        cpu_(make_cpu_backend(0)) {}

  std::string_view name() const override { return "cuda"; }
  int threads() const override { return context_.pool.size(); }
  MachineRoof measure_roof() override { return measure_cuda_roof(context_); }
  Element intermediate_element() const override { return element_; }
  void finish() override { context_.queue.finish(); }

  // --- memory ---------------------------------------------------------------------------------------------------
  size_t free_bytes() const override { return context_.arena->free_bytes(); }
  Buffer allocate(size_t bytes) override {
    Buffer buffer = context_.take(bytes);
    context_.queue.flush();
    BAMBA_CUDA_CHECK(cudaMemsetAsync(buffer.floats(), 0, bytes, context_.stream));
    return buffer;
  }
  Buffer clone(const Buffer& source) override {
    Buffer copy = context_.take(source.bytes());
    context_.queue.flush();
    BAMBA_CUDA_CHECK(
        cudaMemcpyAsync(copy.floats(), source.floats(), source.bytes(), cudaMemcpyDeviceToDevice, context_.stream));
    return copy;
  }
  void upload(const Buffer& target, size_t offset, const void* host, size_t bytes) override {
    context_.queue.flush();
    BAMBA_CUDA_CHECK(cudaMemcpyAsync(reinterpret_cast<std::byte*>(target.floats()) + offset, host, bytes,
                                     cudaMemcpyHostToDevice, context_.stream));
    BAMBA_CUDA_CHECK(cudaStreamSynchronize(context_.stream));
  }
  void download(const Buffer& source, size_t offset, void* host, size_t bytes) override {
    context_.download(host, reinterpret_cast<std::byte*>(source.floats()) + offset, bytes);
  }
  void download_rows(Matrix source, float* host, int64_t host_stride) override {
    if (source.rows == 0) return;
    const float* from = source.data;
    int64_t stride = source.stride;
    if (source.element == Element::bf16) {
      auto* wide = static_cast<float*>(
          context_.scratch(CudaContext::copies, static_cast<size_t>(source.rows * source.cols) * sizeof(float)));
      auto copy = blank<CopyRowsArguments<__nv_bfloat16, float>>();
      copy.in = as<__nv_bfloat16>(source.data);
      copy.in_stride = source.stride;
      copy.out = wide;
      copy.out_stride = source.cols;
      copy.rows = source.rows;
      copy.cols = source.cols;
      context_.queue.push(&copy_rows<__nv_bfloat16, float>, copy);
      from = wide;
      stride = source.cols;
    }
    context_.queue.flush();
    BAMBA_CUDA_CHECK(cudaMemcpy2DAsync(host, row_bytes(host_stride), from, row_bytes(stride), row_bytes(source.cols),
                                       static_cast<size_t>(source.rows), cudaMemcpyDeviceToHost, context_.stream));
    BAMBA_CUDA_CHECK(cudaStreamSynchronize(context_.stream));
  }
  void upload_rows(const float* host, int64_t host_stride, Matrix target) override {
    if (target.rows == 0) return;
    if (target.element != Element::f32) fail(ErrorCode::internal, "upload_rows to a matrix that is not f32");
    context_.queue.flush();
    BAMBA_CUDA_CHECK(cudaMemcpy2DAsync(target.data, row_bytes(target.stride), host, row_bytes(host_stride),
                                       row_bytes(target.cols), static_cast<size_t>(target.rows), cudaMemcpyHostToDevice,
                                       context_.stream));
    BAMBA_CUDA_CHECK(cudaStreamSynchronize(context_.stream));
  }

  // --- weights --------------------------------------------------------------------------------------------------
  std::unique_ptr<LinearWeight> pack_linear(const Tensor& weight, WeightFormat format) override {
    if (!is_quantized(format)) return upload_weight(context_, weight, format);
    const auto packed = cpu_->pack_linear(weight, format);
    return upload_panels(context_, format, weight.dim(0), weight.dim(1), packed->packed());
  }
  std::unique_ptr<LinearWeight> pack_embedding(const Tensor& weight, WeightFormat format) override {
    return pack_linear(weight, format);
  }
  std::unique_ptr<LinearWeight> pack_quantized(const QuantizedMatrix& weight) override {
    const auto packed = cpu_->pack_quantized(weight);
    return upload_panels(context_, weight.format, weight.rows, weight.cols, packed->packed());
  }
  size_t quantized_bytes(int64_t out, int64_t in, WeightFormat format) const override {
    return cpu_->quantized_bytes(out, in, format);
  }
  std::unique_ptr<LinearWeight> adopt_quantized(int64_t out, int64_t in, WeightFormat format,
                                                std::shared_ptr<const std::byte> memory) override {
    return upload_panels(context_, format, out, in, {memory.get(), quantized_bytes(out, in, format)});
  }
  void unpack_linear(const LinearWeight& weight, int64_t first_row, int64_t rows, float* host) override {
    const int64_t in = weight.in_features();
    const int64_t at_once = std::max<int64_t>(1, static_cast<int64_t>(kUnpackedBytes) / (in * 4));
    for (int64_t done = 0; done < rows; done += at_once) {
      const int64_t count = std::min(at_once, rows - done);
      const size_t bytes = static_cast<size_t>(count * in) * sizeof(float);
      auto arguments = blank<WeightRowsArguments>();
      arguments.weight = device_weight(weight);
      arguments.first = first_row + done;
      arguments.rows = count;
      arguments.out = context_.scratch(CudaContext::unpacked, bytes);
      arguments.out_element = Element::f32;
      arguments.out_stride = in;
      context_.queue.push(&weight_rows, arguments);
      context_.download(host + done * in, arguments.out, bytes);
    }
  }
  Buffer upload_vector(std::span<const float> values) override {
    Buffer buffer = context_.take(values.size_bytes());
    upload(buffer, 0, values.data(), values.size_bytes());
    return buffer;
  }

  // --- the forward's operations ---------------------------------------------------------------------------------
  void embed(std::span<const int32_t> ids, const LinearWeight& table, Matrix out) override {
    if (out.rows == 0) return;
    auto arguments = blank<WeightRowsArguments>();
    arguments.weight = device_weight(table);
    make_room(0, ids.size_bytes());
    arguments.ids = stage(ids);
    arguments.rows = out.rows;
    arguments.out = out.data;
    arguments.out_element = out.element;
    arguments.out_stride = out.stride;
    context_.queue.push(&weight_rows, arguments);
  }

  void linear(Matrix in, std::span<const LinearOp> ops) override {
    const int64_t at_once = bit_exact_ && in.element == Element::bf16 ? kSkinnyRows : in.rows;
    for (const LinearOp& op : ops) {
      for (int64_t first = 0; first < in.rows; first += at_once) {
        const int64_t rows = std::min(at_once, in.rows - first);
        product(in.below(first, rows), {op.weight, op.bias, op.accumulate, op.out.below(first, rows)});
      }
    }
  }

  void rms_norm(Matrix in, const float* weight, float eps, Matrix out) override {
    if (in.rows == 0) return;
    with_element(out.element, [&]<typename T>(T) {
      auto arguments = blank<RmsNormArguments<T>>();
      arguments.residual = in.data;
      arguments.residual_stride = in.stride;
      arguments.weight = weight;
      arguments.eps = eps;
      arguments.rows = in.rows;
      arguments.cols = in.cols;
      arguments.out = as<T>(out.data);
      arguments.out_stride = out.stride;
      context_.queue.push(&cuda::rms_norm<T>, arguments);
    });
  }
  void gated_rms_norm(Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups) override {
    if (inout.rows == 0) return;
    with_element(inout.element, [&]<typename T>(T) {
      auto arguments = blank<GatedRmsNormArguments<T>>();
      arguments.in = as<T>(inout.data);
      arguments.in_stride = inout.stride;
      arguments.gate = as<T>(gate.data);
      arguments.gate_stride = gate.stride;
      arguments.weight = weight;
      arguments.eps = eps;
      arguments.groups = groups;
      arguments.rows = inout.rows;
      arguments.cols = inout.cols;
      arguments.out = as<T>(inout.data);
      arguments.out_stride = inout.stride;
      context_.queue.push(&cuda::gated_rms_norm<T>, arguments);
    });
  }
  void gated_activation(Matrix gate, Matrix up, Activation activation) override {
    if (gate.rows == 0) return;
    with_element(gate.element, [&]<typename T>(T) {
      auto arguments = blank<GatedActivationArguments<T>>();
      arguments.gate = as<T>(gate.data);
      arguments.gate_stride = gate.stride;
      arguments.up = as<T>(up.data);
      arguments.up_stride = up.stride;
      arguments.rows = gate.rows;
      arguments.cols = gate.cols;
      arguments.activation = activation;
      context_.queue.push(&cuda::gated_activation<T>, arguments);
    });
  }

  void best_columns(Matrix in, std::span<int64_t> columns) override {
    if (in.rows == 0) return;
    auto arguments = blank<BestColumnsArguments>();
    arguments.in = in.data;
    arguments.stride = in.stride;
    arguments.rows = in.rows;
    arguments.cols = in.cols;
    const size_t bytes = static_cast<size_t>(in.rows) * sizeof(int32_t);
    arguments.columns = static_cast<int32_t*>(context_.scratch(CudaContext::columns, bytes));
    context_.queue.push(&cuda::best_columns, arguments);
    host_columns_.resize(static_cast<size_t>(in.rows));
    context_.download(host_columns_.data(), arguments.columns, bytes);
    std::copy(host_columns_.begin(), host_columns_.end(), columns.begin());
  }

  void causal_conv(Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                   const float* weight, const float* bias, ConvShape shape, Activation activation,
                   Matrix out) override {
    if (in.rows == 0) return;
    with_element(in.element, [&]<typename T>(T) {
      auto arguments = blank<ConvArguments<T>>();
      arguments.in = as<T>(in.data);
      arguments.in_stride = in.stride;
      make_room(sequences.size());
      arguments.sequences = stage(sequences);
      arguments.n_sequences = std::ssize(sequences);
      arguments.rows = in.rows;
      arguments.max_count = most_new_tokens(sequences);
      arguments.windows = stage(windows);
      arguments.weight = weight;
      arguments.bias = bias;
      arguments.shape = shape;
      arguments.activation = activation;
      arguments.out = as<T>(out.data);
      arguments.out_stride = out.stride;
      context_.queue.push(&cuda::causal_conv<T>, arguments);
    });
  }

  void selective_scan(Matrix xbc, Matrix dt, std::span<const SequenceRows> sequences, std::span<float* const> states,
                      const float* a, const float* d, const float* dt_bias, ScanShape shape, ScanForm form,
                      Matrix out) override {
    if (xbc.rows == 0) return;
    const int64_t most = most_new_tokens(sequences);
    with_element(xbc.element, [&]<typename T>(T) {
      auto arguments = blank<ScanArguments<T>>();
      arguments.xbc = as<T>(xbc.data);
      arguments.xbc_stride = xbc.stride;
      arguments.dt = as<T>(dt.data);
      arguments.dt_stride = dt.stride;
      make_room(sequences.size());
      arguments.sequences = stage(sequences);
      arguments.n_sequences = std::ssize(sequences);
      arguments.rows = xbc.rows;
      arguments.max_count = most;
      arguments.states = stage(states);
      arguments.a = a;
      arguments.d = d;
      arguments.dt_bias = dt_bias;
      arguments.shape = shape;
      arguments.out = as<T>(out.data);
      arguments.out_stride = out.stride;
      if (form == ScanForm::recurrent || most == 1) {
        context_.queue.push(&scan_recurrent<T>, arguments);
      } else {
        const size_t bytes = scan_chunked_workspace_bytes(shape, xbc.rows, std::ssize(sequences));
        arguments.workspace = context_.scratch(CudaContext::scan, bytes);
        context_.queue.push(&scan_chunked<T>, arguments);
      }
    });
  }

  void rotate(Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim, const float* cos_sin) override {
    if (heads.rows == 0 || rotary_dim == 0) return;
    with_element(heads.element, [&]<typename T>(T) {
      auto arguments = blank<RopeArguments<T>>();
      // Without pages, keys turn in place: queries are no different.
      arguments.keys = as<T>(heads.data);
      arguments.key_stride = heads.stride;
      arguments.rows = heads.rows;
      arguments.shape = AttentionShape{n_heads, n_heads, head_dim, rotary_dim, KvFormat::f32};
      const std::span<const float> table(cos_sin, static_cast<size_t>(heads.rows * rotary_dim));
      make_room(0, table.size_bytes());
      arguments.cos_sin = stage(table);
      context_.queue.push(&rope<T>, arguments);
    });
  }

  // --- paged keys and values ------------------------------------------------------------------------------------
  int64_t kv_page_tokens() const override { return kPageTokens; }
  size_t kv_page_bytes(AttentionShape shape) const override { return cuda::kv_page_bytes(shape); }

  void kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                 std::span<float* const* const> pages, AttentionShape shape) override {
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
      make_room(sequences.size(), row_sequence_.size() * sizeof(int32_t) + table_bytes(sequences));
      arguments.row_sequence = stage_list(row_sequence_);
      arguments.sequences = stage_paged(sequences, pages);
      context_.queue.push(&rope<T>, arguments);
    });
  }
  void kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values) override {
    if (tokens == 0) return;
    const size_t bytes = static_cast<size_t>(shape.n_kv_heads * tokens * shape.head_dim) * sizeof(float);
    auto* memory = static_cast<float*>(context_.scratch(CudaContext::copies, 2 * bytes));
    const KvCopyArguments arguments{stage_table(pages, tokens), tokens, shape};
    context_.queue.flush();
    cuda::kv_read(context_.stream, arguments, memory, memory + bytes / sizeof(float));
    context_.download(keys, memory, bytes);
    context_.download(values, memory + bytes / sizeof(float), bytes);
  }
  void kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys,
                const float* values) override {
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

  void attention(Matrix queries, std::span<const SequenceRows> sequences, std::span<float* const* const> pages,
                 AttentionShape shape, Matrix out) override {
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
          arguments.sequences = stage_paged(long_, long_pages_);
          const auto list = attention_tiles(long_, shape, kPrefillTileRows);
          arguments.tiles = stage(std::span<const AttentionTile>(list));
          arguments.n_tiles = std::ssize(list);
          context_.queue.push(&attention_prefill<T>, arguments);
        }
      }
      if (!short_.empty()) attention_by_spans(arguments);
    });
  }

  void attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape, float* host,
                         int64_t head_stride, int64_t row_stride) override {
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

 private:
  static size_t row_bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

  static int64_t most_new_tokens(std::span<const SequenceRows> sequences) {
    int64_t most = 0;
    for (const SequenceRows& rows : sequences) most = std::max(most, rows.count);
    return most;
  }

  /// Device copy of a list that operations pushed from now on read; make_room() comes first.
  template <typename Value>
  std::remove_const_t<Value>* stage(std::span<Value> values) {
    using Plain = std::remove_const_t<Value>;
    return context_.queue.stage(std::span<const Plain>(values.data(), values.size()));
  }
  template <typename Value>
  Value* stage_list(const std::vector<Value>& values) {
    return context_.queue.stage(std::span<const Value>(values));
  }
  /// For `bytes` more than what an operation stages for each sequence.
  void make_room(size_t sequences, size_t bytes = 0) {
    constexpr size_t kLists = 8;
    context_.queue.make_room(sequences * (sizeof(SequenceRows) + 2 * sizeof(float*)) + bytes, kLists);
  }

  static size_t pages_of(int64_t tokens) { return static_cast<size_t>((tokens + kPageTokens - 1) / kPageTokens); }
  float* const* stage_table(float* const* pages, int64_t tokens) {
    context_.queue.make_room(pages_of(tokens) * sizeof(float*), 1);
    return stage(std::span<float* const>(pages, pages_of(tokens)));
  }
  /// What stage_paged() stages beside the sequences.
  static size_t table_bytes(std::span<const SequenceRows> sequences) {
    size_t bytes = 0;
    for (const SequenceRows& rows : sequences) bytes += pages_of(length_bound(rows.start + rows.count)) + 2;
    return bytes * sizeof(float*);
  }

  /// The sequences and their page tables. Each table has room for as many pages as length_bound allows, so that what
  /// is staged after it stays at its place while a sequence grows.
  PagedSequences stage_paged(std::span<const SequenceRows> sequences, std::span<float* const* const> pages) {
    tables_.clear();
    for (size_t s = 0; s < sequences.size(); ++s) {
      const int64_t tokens = sequences[s].start + sequences[s].count;
      table_.assign(pages_of(length_bound(tokens)), nullptr);
      std::copy_n(pages[s], pages_of(tokens), table_.begin());
      tables_.push_back(stage_list(table_));
    }
    return {stage(sequences), stage_list(tables_)};
  }

  template <typename T>
  void attention_by_spans(AttentionArguments<T> arguments) {
    const int64_t tile_rows = span_tile_rows<T>(arguments.shape, most_new_tokens(short_));
    const auto list = attention_tiles(short_, arguments.shape, tile_rows);
    make_room(short_.size(), table_bytes(short_) + list.size() * sizeof(AttentionTile));
    arguments.sequences = stage_paged(short_, short_pages_);
    arguments.tiles = stage_list(list);
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

  void product(Matrix in, const LinearOp& op) {
    if (in.rows == 0) return;
    const DeviceWeight& weight = device_weight(*op.weight);
    auto few = blank<SkinnyArguments>();
    few.weight = weight;
    few.in = in.data;
    few.in_element = in.element;
    few.in_stride = in.stride;
    few.rows = in.rows;
    few.out = op.out.data;
    few.out_element = op.out.element;
    few.out_stride = op.out.stride;
    few.bias = op.bias;
    few.accumulate = op.accumulate;
    few.workspace = context_.skinny_workspace();
    // Fetches its first weights while the norm or activation before it runs.
    few.overlap_previous = true;
    // In f32, the mode for checking, one kernel serves any number of rows: a row's bits do not depend on it.
    if (in.rows <= kSkinnyRows || in.element == Element::f32) {
      context_.queue.push(&skinny_linear, few);
      return;
    }
    constexpr int64_t kBytes = 2;
    if (weight.kind == WeightKind::bf16) {
      gemm(in, op, weight.codes, weight.pitch / kBytes, 0, weight.out);
      return;
    }
    // Other formats are unpacked, as many outputs at a time as scratch memory holds, into what cuBLASLt multiplies.
    const int64_t pitch = (weight.in + 7) / 8 * 8;
    const int64_t at_once = std::max<int64_t>(64, static_cast<int64_t>(kUnpackedBytes) / (pitch * kBytes));
    for (int64_t first = 0; first < weight.out; first += at_once) {
      const int64_t count = std::min(at_once, weight.out - first);
      auto rows = blank<WeightRowsArguments>();
      rows.weight = weight;
      rows.first = first;
      rows.rows = count;
      rows.out = context_.scratch(CudaContext::unpacked, kUnpackedBytes + static_cast<size_t>(64 * pitch * kBytes));
      rows.out_element = Element::bf16;
      rows.out_stride = pitch;
      context_.queue.push(&weight_rows, rows);
      gemm(in, op, rows.out, pitch, first, count);
    }
  }

  /// Outputs [first, first + count) of a product, whose weights stand at `codes`.
  void gemm(Matrix in, const LinearOp& op, const void* codes, int64_t stride, int64_t first, int64_t count) {
    auto call = blank<GemmCall>();
    call.gemm = &context_.gemm;
    GemmArguments& arguments = call.arguments;
    arguments.type = GemmType::bf16;
    arguments.in = in.data;
    arguments.in_stride = in.stride;
    arguments.rows = in.rows;
    arguments.weight = codes;
    arguments.weight_stride = stride;
    arguments.outputs = count;
    arguments.inputs = in.cols;
    arguments.out = op.out.at(0, first);
    arguments.out_element = op.out.element;
    arguments.out_stride = op.out.stride;
    arguments.bias = op.bias != nullptr ? op.bias + first : nullptr;
    arguments.accumulate = op.accumulate;
    context_.queue.push(&run_gemm, call);
  }

  Element element_;
  bool bit_exact_;
  CudaContext context_;
  std::unique_ptr<Backend> cpu_;  // packs quantized weights

  // Host-side lists, kept for their memory.
  std::vector<int32_t> row_sequence_;
  std::vector<SequenceRows> long_;
  std::vector<float* const*> long_pages_;
  std::vector<SequenceRows> short_;
  std::vector<float* const*> short_pages_;
  std::vector<float*> table_;
  std::vector<float* const*> tables_;
  std::vector<float> host_weights_;
  std::vector<int32_t> host_columns_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    static_cast<void>(cudaGetLastError());
    fail(ErrorCode::unsupported, "device \"cuda\": this machine has no CUDA device, or no driver for it");
  }
  BAMBA_CUDA_CHECK(cudaSetDevice(0));
  cudaDeviceProp properties{};
  BAMBA_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  if (properties.major != 9 || properties.minor != 0) {
    fail(ErrorCode::unsupported, "device \"cuda\": the GPU is a ", properties.name, " of compute capability ",
         properties.major, ".", properties.minor, "; this build runs on 9.0 (Hopper)");
  }
  return std::make_unique<CudaBackend>(options);
}

}  // namespace bamba::backend
