// The Backend interface over the CUDA kernels.
#include <cuda_bf16.h>

#include <algorithm>
#include <vector>

#include "backend/cuda/check.h"
#include "backend/cuda/conv.h"
#include "backend/cuda/cuda_operation_timer.h"
#include "backend/cuda/cuda_roof.h"
#include "backend/cuda/cuda_weight.h"
#include "backend/cuda/elementwise.h"
#include "backend/cuda/joined_operations.h"
#include "backend/cuda/linear_products.h"
#include "backend/cuda/norm.h"
#include "backend/cuda/operation_lists.h"
#include "backend/cuda/paged_attention.h"
#include "backend/cuda/quantized_rows.h"
#include "backend/cuda/rope.h"
#include "backend/cuda/scan.h"
#include "backend/cuda/token_choice.h"
#include "base/str.h"

namespace bamba::backend {
namespace {

using namespace cuda;  // NOLINT: this file is the CUDA backend

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options)
      : element_(options.activations == ActivationFormat::bf16 ? Element::bf16 : Element::f32),
        context_(options),
        lists_(context_),
        products_(context_, options.bit_exact),
        joined_(context_, lists_, products_),
        attention_(context_, options.bit_exact),
        tokens_(context_, lists_),
        cpu_(make_cpu_backend(0)) {}

  std::string_view name() const override { return "cuda"; }
  int threads() const override { return context_.pool.size(); }
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) override {
    context_.pool.parallel_for(tasks, body);
  }
  MachineRoof measure_roof() override { return measure_cuda_roof(context_); }
  Element intermediate_element() const override { return element_; }
  void finish() override { context_.queue.finish(); }
  std::unique_ptr<OperationTimer> make_operation_timer() override {
    return std::make_unique<CudaOperationTimer>(context_.queue);
  }
  DeviceMemory memory() const override { return context_.arena->memory(); }

  // --- memory ---------------------------------------------------------------------------------------------------
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
    context_.queue.wait();
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
    context_.queue.wait();
  }
  void upload_rows(const float* host, int64_t host_stride, Matrix target) override {
    if (target.rows == 0) return;
    if (target.element != Element::f32) fail(ErrorCode::internal, "upload_rows to a matrix that is not f32");
    context_.queue.flush();
    BAMBA_CUDA_CHECK(cudaMemcpy2DAsync(target.data, row_bytes(target.stride), host, row_bytes(host_stride),
                                       row_bytes(target.cols), static_cast<size_t>(target.rows), cudaMemcpyHostToDevice,
                                       context_.stream));
    context_.queue.wait();
  }

  // --- weights --------------------------------------------------------------------------------------------------
  std::unique_ptr<LinearWeight> pack_linear(const Tensor& weight, WeightFormat format) override {
    if (format == WeightFormat::fp8) return upload_fp8(context_, quantize_fp8(weight, context_.pool));
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
  bool keeps_fp8_blocks(const Fp8Block& block) const override { return block == Fp8Block{kFp8Block, kFp8Block}; }
  std::unique_ptr<LinearWeight> pack_fp8(const Fp8Matrix& weight) override { return upload_fp8(context_, weight); }
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
    lists_.make_room(0, ids.size_bytes());
    arguments.ids = lists_.stage(ids);
    arguments.rows = out.rows;
    arguments.out = out.data;
    arguments.out_element = out.element;
    arguments.out_stride = out.stride;
    context_.queue.push(&weight_rows, arguments);
  }

  void linear(Matrix in, std::span<const LinearOp> ops) override { products_.linear({in}, ops); }

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

  void best_columns(Matrix in, std::span<int64_t> columns) override { tokens_.best_columns(in, columns); }
  bool draws_tokens() const override { return true; }
  void draw_columns(Matrix in, std::span<const TokenDraw> draws, std::span<int64_t> columns) override {
    tokens_.draw_columns(in, draws, columns);
  }

  void causal_conv(Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                   const float* weight, const float* bias, ConvShape shape, Activation activation,
                   Matrix out) override {
    if (in.rows == 0) return;
    with_element(in.element, [&]<typename T>(T) {
      auto arguments = blank<ConvArguments<T>>();
      arguments.in = as<T>(in.data);
      arguments.in_stride = in.stride;
      lists_.make_room(sequences.size());
      arguments.sequences = lists_.stage(sequences);
      arguments.n_sequences = std::ssize(sequences);
      arguments.rows = in.rows;
      arguments.max_count = most_new_tokens(sequences);
      arguments.windows = lists_.stage(windows);
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
    const ScanOp op{xbc, dt, sequences, states, a, d, dt_bias, shape, form, out};
    with_element(xbc.element, [&]<typename T>(T) {
      auto arguments = scan_arguments<T>(op);
      if (is_recurrent(op)) {
        context_.queue.push(&scan_recurrent<T>, arguments);
      } else {
        const size_t bytes = scan_chunked_workspace_bytes(shape, xbc.rows, std::ssize(sequences));
        arguments.workspace = context_.scratch(CudaContext::scan, bytes);
        context_.queue.push(&scan_chunked<T>, arguments);
      }
    });
  }

  // --- operations in a row --------------------------------------------------------------------------------------
  bool joins_operations(int64_t rows) const override { return products_.joins(element_, rows); }
  Matrix complete(const ProductInput& in) override { return products_.complete(in); }
  void linear_from(const ProductInput& in, std::span<const LinearOp> ops) override { products_.linear(in, ops); }
  ProductInput linear_rms_norm(const ProductInput& in, const LinearOp& op, const float* weight, float eps,
                               Matrix normed, const LinearWeight* reader) override {
    ProductInput result;
    if (joined_.linear_rms_norm(in, op, weight, eps, normed, reader, result)) return result;
    return Backend::linear_rms_norm(in, op, weight, eps, normed, reader);
  }
  void linear_conv(const ProductInput& in, const LinearOp& op, int64_t first_column, const ConvOp& conv) override {
    if (!joined_.linear_conv(in, op, first_column, conv)) Backend::linear_conv(in, op, first_column, conv);
  }
  ProductInput scan_gated_rms_norm(const ScanOp& scan, Matrix gate, const float* weight, float eps,
                                   const LinearWeight* reader) override {
    if (!is_recurrent(scan) || !joined_.can_gate(scan)) {
      return Backend::scan_gated_rms_norm(scan, gate, weight, eps, reader);
    }
    return joined_.scan_gated_rms_norm(scan, scan_arguments<__nv_bfloat16>(scan), gate, weight, eps, reader);
  }
  ProductInput gated_linear(const ProductInput& in, const LinearOp& gate, const LinearOp& up, Activation activation,
                            const LinearWeight* reader) override {
    ProductInput result;
    if (joined_.gated_linear(in, gate, up, activation, reader, result)) return result;
    return Backend::gated_linear(in, gate, up, activation, reader);
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
      lists_.make_room(0, table.size_bytes());
      arguments.cos_sin = lists_.stage(table);
      context_.queue.push(&rope<T>, arguments);
    });
  }

  // --- paged keys and values ------------------------------------------------------------------------------------
  int64_t kv_page_tokens() const override { return kPageTokens; }
  size_t kv_page_bytes(AttentionShape shape) const override { return cuda::kv_page_bytes(shape); }

  void kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                 std::span<float* const* const> pages, AttentionShape shape) override {
    attention_.kv_append(keys, values, sequences, pages, shape);
  }
  void kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values) override {
    attention_.kv_read(pages, tokens, shape, keys, values);
  }
  void kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys,
                const float* values) override {
    attention_.kv_write(pages, tokens, shape, keys, values);
  }
  void attention(Matrix queries, std::span<const SequenceRows> sequences, std::span<float* const* const> pages,
                 AttentionShape shape, Matrix out) override {
    attention_.attention(queries, sequences, pages, shape, out);
  }
  void attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape, float* host,
                         int64_t head_stride, int64_t row_stride) override {
    attention_.attention_weights(queries, sequence, pages, shape, host, head_stride, row_stride);
  }

 private:
  /// A token at a time; chunked for prompts, if that is asked for.
  static bool is_recurrent(const ScanOp& op) {
    return op.form == ScanForm::recurrent || most_new_tokens(op.sequences) == 1;
  }
  template <typename T>
  ScanArguments<T> scan_arguments(const ScanOp& op) {
    auto arguments = blank<ScanArguments<T>>();
    arguments.xbc = as<T>(op.xbc.data);
    arguments.xbc_stride = op.xbc.stride;
    arguments.dt = as<T>(op.dt.data);
    arguments.dt_stride = op.dt.stride;
    lists_.make_room(op.sequences.size());
    arguments.sequences = lists_.stage(op.sequences);
    arguments.n_sequences = std::ssize(op.sequences);
    arguments.rows = op.xbc.rows;
    arguments.max_count = most_new_tokens(op.sequences);
    arguments.states = lists_.stage(op.states);
    arguments.a = op.a;
    arguments.d = op.d;
    arguments.dt_bias = op.dt_bias;
    arguments.shape = op.shape;
    arguments.out = as<T>(op.out.data);
    arguments.out_stride = op.out.stride;
    return arguments;
  }

  static size_t row_bytes(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

  Element element_;
  CudaContext context_;
  OperationLists lists_;
  LinearProducts products_;
  JoinedOperations joined_;
  PagedAttention attention_;
  TokenChoice tokens_;
  std::unique_ptr<Backend> cpu_;  // packs quantized weights
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
