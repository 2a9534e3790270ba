// The Backend interface over the CPU kernels.
#include <algorithm>
#include <cstring>

#include "backend/backend.h"
#include "backend/cpu/attention.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/mamba.h"
#include "backend/cpu/memory_pool.h"
#include "backend/cpu/quantized.h"
#include "backend/cpu/roofline.h"
#include "backend/cpu/rowwise.h"

namespace bamba::backend {
namespace {

using cpu::cpu_weight;

std::byte* bytes_of(const Buffer& buffer, size_t offset) {
  return reinterpret_cast<std::byte*>(buffer.floats()) + offset;
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, ActivationFormat activations) : context_(threads, activations) {}

  std::string_view name() const override { return "cpu"; }
  bool buffers_on_host() const override { return true; }
  int threads() const override { return context_.pool.size(); }
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) override {
    context_.pool.parallel_for(tasks, body);
  }
  MachineRoof measure_roof() override {
    return {cpu::measure_read_bandwidth(context_), cpu::measure_fma_peak(context_), cpu::measure_int8_peak(context_)};
  }

  Buffer allocate(size_t bytes) override {
    std::shared_ptr<void> memory = memory_->take(bytes);
    std::memset(memory.get(), 0, bytes);
    return {std::move(memory), bytes};
  }
  Buffer clone(const Buffer& source) override {
    // Not by allocate(): zeros that are overwritten at once would double the price of going on from a fork.
    std::shared_ptr<void> memory = memory_->take(source.bytes());
    if (source.bytes() > 0) std::memcpy(memory.get(), source.floats(), source.bytes());
    return {std::move(memory), source.bytes()};
  }
  void upload(const Buffer& target, size_t offset, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(bytes_of(target, offset), host, bytes);
  }
  void download(const Buffer& source, size_t offset, void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(host, bytes_of(source, offset), bytes);
  }
  void download_rows(Matrix source, float* host, int64_t host_stride) override {
    // Logits of many sequences are megabytes: 16 rows of a vocabulary of 128k are 8.
    context_.parallel_exact(source.rows, source.rows * source.cols, [&](int64_t r, cpu::Scratch&) {
      std::copy_n(source.data + r * source.stride, source.cols, host + r * host_stride);
    });
  }
  void upload_rows(const float* host, int64_t host_stride, Matrix target) override {
    for (int64_t r = 0; r < target.rows; ++r) {
      std::copy_n(host + r * host_stride, target.cols, target.data + r * target.stride);
    }
  }

  /// fp8 weights are rounded to that, and then held as bf16.
  WeightFormat held_format(WeightFormat wanted) const override {
    return wanted == WeightFormat::fp8 ? WeightFormat::bf16 : wanted;
  }
  std::unique_ptr<LinearWeight> pack_linear(const Tensor& weight, WeightFormat format) override {
    if (format == WeightFormat::fp8) return pack_fp8(quantize_fp8(weight, context_.pool));
    return cpu::pack_linear(context_, weight, format, cpu::CpuLinearWeight::Layout::panels);
  }
  std::unique_ptr<LinearWeight> pack_embedding(const Tensor& weight, WeightFormat format) override {
    if (format == WeightFormat::fp8) {
      return pack_embedding(widen_fp8(quantize_fp8(weight, context_.pool)), held_format(format));
    }
    return cpu::pack_linear(
        context_, weight, format,
        is_quantized(format) ? cpu::CpuLinearWeight::Layout::panels : cpu::CpuLinearWeight::Layout::rows);
  }
  std::unique_ptr<LinearWeight> pack_quantized(const QuantizedMatrix& weight) override {
    return cpu::pack_quantized(context_, weight);
  }
  std::unique_ptr<LinearWeight> pack_fp8(const Fp8Matrix& weight) override {
    check_fp8(weight, context_.pool);
    return pack_linear(widen_fp8(weight), held_format(WeightFormat::fp8));
  }
  size_t quantized_bytes(int64_t out, int64_t in, WeightFormat format) const override {
    return cpu::quantized_bytes(out, in, format);
  }
  std::unique_ptr<LinearWeight> adopt_quantized(int64_t out, int64_t in, WeightFormat format,
                                                std::shared_ptr<const std::byte> memory) override {
    return std::make_unique<cpu::CpuLinearWeight>(out, in, format, std::move(memory));
  }
  void unpack_linear(const LinearWeight& weight, int64_t first_row, int64_t rows, float* host) override {
    cpu::unpack_linear(context_, cpu_weight(weight), first_row, rows, host);
  }
  Buffer upload_vector(std::span<const float> values) override {
    Buffer buffer = allocate(values.size_bytes());
    upload(buffer, 0, values.data(), values.size_bytes());
    return buffer;
  }

  void embed(std::span<const int32_t> ids, const LinearWeight& table, Matrix out) override {
    cpu::embed(context_, ids, cpu_weight(table), out);
  }
  void linear(Matrix in, std::span<const LinearOp> ops) override { cpu::linear(context_, in, ops); }
  void rms_norm(Matrix in, const float* weight, float eps, Matrix out) override {
    cpu::rms_norm(context_, in, weight, eps, out);
  }
  void gated_rms_norm(Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups) override {
    cpu::gated_rms_norm(context_, inout, gate, weight, eps, groups);
  }
  void gated_activation(Matrix gate, Matrix up, Activation activation) override {
    cpu::gated_activation(context_, gate, up, activation);
  }
  void best_columns(Matrix in, std::span<int64_t> columns) override { cpu::best_columns(context_, in, columns); }
  void causal_conv(Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                   const float* weight, const float* bias, ConvShape shape, Activation activation,
                   Matrix out) override {
    cpu::causal_conv(context_, in, sequences, windows, weight, bias, shape, activation, out);
  }
  void selective_scan(Matrix xbc, Matrix dt, std::span<const SequenceRows> sequences, std::span<float* const> states,
                      const float* a, const float* d, const float* dt_bias, ScanShape shape, ScanForm form,
                      Matrix out) override {
    const int64_t count = dt.rows * shape.n_heads;
    float* delta = context_.shared.floats(2 * count);
    float* log_decay = delta + count;
    cpu::time_steps(context_, dt, a, dt_bias, shape, delta, log_decay);
    const cpu::ScanArguments arguments{xbc, sequences, states, delta, log_decay, d, shape, out};
    if (form == ScanForm::recurrent) {
      cpu::scan_recurrent(context_, arguments);
    } else {
      cpu::scan_chunked(context_, arguments);
    }
  }
  void rotate(Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim, const float* cos_sin) override {
    cpu::rotate(context_, heads, n_heads, head_dim, rotary_dim, cos_sin);
  }

  int64_t kv_page_tokens() const override { return cpu::kPageTokens; }
  size_t kv_page_bytes(AttentionShape shape) const override {
    return static_cast<size_t>(cpu::PageLayout(shape).page_bytes);
  }
  void kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                 std::span<float* const* const> pages, AttentionShape shape) override {
    cpu::kv_append(context_, keys, values, sequences, pages, shape);
  }
  void kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values) override {
    cpu::kv_read(pages, tokens, shape, keys, values);
  }
  void kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys,
                const float* values) override {
    cpu::kv_write(pages, tokens, shape, keys, values);
  }
  void attention(Matrix queries, std::span<const SequenceRows> sequences, std::span<float* const* const> pages,
                 AttentionShape shape, Matrix out) override {
    cpu::attention(context_, queries, sequences, pages, shape, out);
  }
  void attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape, float* host,
                         int64_t head_stride, int64_t row_stride) override {
    cpu::attention_weights(context_, queries, sequence, pages, shape, host, head_stride, row_stride);
  }

 private:
  cpu::Context context_;
  std::shared_ptr<cpu::MemoryPool> memory_ = cpu::MemoryPool::make();
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads, ActivationFormat activations) {
  return std::make_unique<CpuBackend>(threads, activations);
}

}  // namespace bamba::backend
