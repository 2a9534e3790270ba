#include "backend/profiling_backend.h"

#include <string>
#include <type_traits>
#include <utility>

#include "backend/operation_cost.h"
#include "backend/operation_log.h"
#include "base/stopwatch.h"

namespace bamba::backend {
namespace {

class ProfilingBackend final : public Backend {
 public:
  ProfilingBackend(std::unique_ptr<Backend> inner, std::shared_ptr<Profile> profile)
      : inner_(std::move(inner)), profile_(std::move(profile)) {
    if (auto timer = inner_->make_operation_timer()) log_ = std::make_unique<OperationLog>(std::move(timer), profile_);
  }

  std::string_view name() const override { return inner_->name(); }
  int threads() const override { return inner_->threads(); }
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) override {
    inner_->parallel_for(tasks, body);
  }
  MachineRoof measure_roof() override { return inner_->measure_roof(); }
  Element intermediate_element() const override { return inner_->intermediate_element(); }
  bool buffers_on_host() const override { return inner_->buffers_on_host(); }
  DeviceMemory memory() const override { return inner_->memory(); }
  void finish() override {
    inner_->finish();
    if (log_ != nullptr) log_->deliver();
  }

  // States take memory and copy what they share with forks while a forward begins: that is part of its time.
  Buffer allocate(size_t bytes) override {
    return timed("allocate", {static_cast<double>(bytes), 0}, [&] { return inner_->allocate(bytes); });
  }
  Buffer clone(const Buffer& source) override {
    return timed("clone", copy_cost(static_cast<double>(source.bytes())), [&] { return inner_->clone(source); });
  }
  void upload(const Buffer& target, size_t offset, const void* host, size_t bytes) override {
    timed("upload", copy_cost(static_cast<double>(bytes)), [&] { inner_->upload(target, offset, host, bytes); });
  }
  void download(const Buffer& source, size_t offset, void* host, size_t bytes) override {
    timed("download", copy_cost(static_cast<double>(bytes)), [&] { inner_->download(source, offset, host, bytes); });
  }
  void download_rows(Matrix source, float* host, int64_t host_stride) override {
    timed("download_rows", copy_cost(matrix_bytes(source)), [&] { inner_->download_rows(source, host, host_stride); });
  }
  void upload_rows(const float* host, int64_t host_stride, Matrix target) override {
    timed("upload_rows", copy_cost(matrix_bytes(target)), [&] { inner_->upload_rows(host, host_stride, target); });
  }

  // Loading and saving are no part of a forward.
  WeightFormat held_format(WeightFormat wanted) const override { return inner_->held_format(wanted); }
  std::unique_ptr<LinearWeight> pack_linear(const Tensor& weight, WeightFormat format) override {
    return inner_->pack_linear(weight, format);
  }
  std::unique_ptr<LinearWeight> pack_embedding(const Tensor& weight, WeightFormat format) override {
    return inner_->pack_embedding(weight, format);
  }
  std::unique_ptr<LinearWeight> pack_quantized(const QuantizedMatrix& weight) override {
    return inner_->pack_quantized(weight);
  }
  bool keeps_fp8_blocks(const Fp8Block& block) const override { return inner_->keeps_fp8_blocks(block); }
  std::unique_ptr<LinearWeight> pack_fp8(const Fp8Matrix& weight) override { return inner_->pack_fp8(weight); }
  size_t quantized_bytes(int64_t out, int64_t in, WeightFormat format) const override {
    return inner_->quantized_bytes(out, in, format);
  }
  std::unique_ptr<LinearWeight> adopt_quantized(int64_t out, int64_t in, WeightFormat format,
                                                std::shared_ptr<const std::byte> memory) override {
    return inner_->adopt_quantized(out, in, format, std::move(memory));
  }
  void unpack_linear(const LinearWeight& weight, int64_t first_row, int64_t rows, float* host) override {
    inner_->unpack_linear(weight, first_row, rows, host);
  }
  Buffer upload_vector(std::span<const float> values) override { return inner_->upload_vector(values); }

  void embed(std::span<const int32_t> ids, const LinearWeight& table, Matrix out) override {
    timed("embed", embed_cost(table, out.rows), [&] { inner_->embed(ids, table, out); });
  }
  void linear(Matrix in, std::span<const LinearOp> ops) override { linear_from({in}, ops); }
  void rms_norm(Matrix in, const float* weight, float eps, Matrix out) override {
    timed("rms_norm", rms_norm_cost(in.rows, in.cols, out.element), [&] { inner_->rms_norm(in, weight, eps, out); });
  }
  void gated_rms_norm(Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups) override {
    timed("gated_rms_norm", gated_rms_norm_cost(inout.rows, inout.cols, inout.element),
          [&] { inner_->gated_rms_norm(inout, gate, weight, eps, groups); });
  }
  void gated_activation(Matrix gate, Matrix up, Activation activation) override {
    timed("gated_activation", gated_activation_cost(gate.rows, gate.cols, gate.element),
          [&] { inner_->gated_activation(gate, up, activation); });
  }
  void best_columns(Matrix in, std::span<int64_t> columns) override {
    timed("best_columns", {matrix_bytes(in), 0}, [&] { inner_->best_columns(in, columns); });
  }
  bool draws_tokens() const override { return inner_->draws_tokens(); }
  void draw_columns(Matrix in, std::span<const TokenDraw> draws, std::span<int64_t> columns) override {
    timed("draw_columns", {matrix_bytes(in), 0}, [&] { inner_->draw_columns(in, draws, columns); });
  }
  void causal_conv(Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                   const float* weight, const float* bias, ConvShape shape, Activation activation,
                   Matrix out) override {
    timed("causal_conv", causal_conv_cost(in.rows, sequences.size(), shape, bias != nullptr, in.element),
          [&] { inner_->causal_conv(in, sequences, windows, weight, bias, shape, activation, out); });
  }
  void selective_scan(Matrix xbc, Matrix dt, std::span<const SequenceRows> sequences, std::span<float* const> states,
                      const float* a, const float* d, const float* dt_bias, ScanShape shape, ScanForm form,
                      Matrix out) override {
    timed(
        "selective_scan", selective_scan_cost(xbc.rows, sequences.size(), shape, xbc.element),
        [&] { inner_->selective_scan(xbc, dt, sequences, states, a, d, dt_bias, shape, form, out); }, products_of(xbc));
  }
  void rotate(Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim, const float* cos_sin) override {
    timed("rotate", rotate_cost(heads.rows, n_heads, rotary_dim, heads.element),
          [&] { inner_->rotate(heads, n_heads, head_dim, rotary_dim, cos_sin); });
  }

  // One operation in the profile where the device may have them in one piece, otherwise as many as there are.
  bool joins_operations(int64_t rows) const override { return inner_->joins_operations(rows); }
  Matrix complete(const ProductInput& in) override { return inner_->complete(in); }
  void linear_from(const ProductInput& in, std::span<const LinearOp> ops) override {
    timed(
        linear_name(ops), linear_costs(in.rows, ops), [&] { inner_->linear_from(in, ops); },
        arithmetic_of_products(in.rows, ops));
  }
  ProductInput linear_rms_norm(const ProductInput& in, const LinearOp& op, const float* weight, float eps,
                               Matrix normed, const LinearWeight* reader) override {
    if (!joins_operations(in.rows.rows)) return Backend::linear_rms_norm(in, op, weight, eps, normed, reader);
    const OperationCost norm = rms_norm_cost(normed.rows, normed.cols, normed.element);
    return timed(
        linear_name({&op, 1}) + " + rms_norm", sum(linear_costs(in.rows, {&op, 1}), norm),
        [&] { return inner_->linear_rms_norm(in, op, weight, eps, normed, reader); },
        arithmetic_of_products(in.rows, {&op, 1}));
  }
  void linear_conv(const ProductInput& in, const LinearOp& op, int64_t first_column, const ConvOp& conv) override {
    if (!joins_operations(in.rows.rows)) return Backend::linear_conv(in, op, first_column, conv);
    const OperationCost own =
        causal_conv_cost(in.rows.rows, conv.sequences.size(), conv.shape, conv.bias != nullptr, conv.out.element);
    timed(
        linear_name({&op, 1}) + " + causal_conv", sum(linear_costs(in.rows, {&op, 1}), own),
        [&] { inner_->linear_conv(in, op, first_column, conv); }, arithmetic_of_products(in.rows, {&op, 1}));
  }
  ProductInput scan_gated_rms_norm(const ScanOp& scan, Matrix gate, const float* weight, float eps,
                                   const LinearWeight* reader) override {
    if (!joins_operations(scan.xbc.rows)) return Backend::scan_gated_rms_norm(scan, gate, weight, eps, reader);
    const OperationCost norm = gated_rms_norm_cost(gate.rows, gate.cols, gate.element);
    const OperationCost own = selective_scan_cost(scan.xbc.rows, scan.sequences.size(), scan.shape, scan.xbc.element);
    return timed(
        "selective_scan + gated_rms_norm", sum(own, norm),
        [&] { return inner_->scan_gated_rms_norm(scan, gate, weight, eps, reader); }, products_of(scan.xbc));
  }
  ProductInput gated_linear(const ProductInput& in, const LinearOp& gate, const LinearOp& up, Activation activation,
                            const LinearWeight* reader) override {
    if (!joins_operations(in.rows.rows)) return Backend::gated_linear(in, gate, up, activation, reader);
    const LinearOp ops[] = {gate, up};
    const OperationCost own = gated_activation_cost(gate.out.rows, gate.out.cols, gate.out.element);
    return timed(
        linear_name(ops) + " + gated_activation", sum(linear_costs(in.rows, ops), own),
        [&] { return inner_->gated_linear(in, gate, up, activation, reader); }, arithmetic_of_products(in.rows, ops));
  }

  int64_t kv_page_tokens() const override { return inner_->kv_page_tokens(); }
  size_t kv_page_bytes(AttentionShape shape) const override { return inner_->kv_page_bytes(shape); }
  void kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                 std::span<float* const* const> pages, AttentionShape shape) override {
    timed("kv_append", kv_append_cost(keys.rows, token_bytes(shape), shape, keys.element),
          [&] { inner_->kv_append(keys, values, sequences, pages, shape); });
  }
  void kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values) override {
    inner_->kv_read(pages, tokens, shape, keys, values);
  }
  void kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys,
                const float* values) override {
    inner_->kv_write(pages, tokens, shape, keys, values);
  }
  void attention(Matrix queries, std::span<const SequenceRows> sequences, std::span<float* const* const> pages,
                 AttentionShape shape, Matrix out) override {
    timed(
        "attention", attention_cost(sequences, token_bytes(shape), shape, queries.element),
        [&] { inner_->attention(queries, sequences, pages, shape, out); }, products_of(queries));
  }
  void attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape, float* host,
                         int64_t head_stride, int64_t row_stride) override {
    timed("attention_weights", attention_cost({&sequence, 1}, token_bytes(shape), shape, queries.element),
          [&] { inner_->attention_weights(queries, sequence, pages, shape, host, head_stride, row_stride); });
  }

 private:
  /// What throws is not counted; by a device's clock nor are the operations before it that were not delivered yet.
  template <typename Body>
  std::invoke_result_t<Body> timed(std::string_view name, OperationCost cost, Body body,
                                   Arithmetic arithmetic = Arithmetic::f32) {
    const Stopwatch watch;
    if (log_ != nullptr) log_->begin();
    if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
      guarded(body);
      end(name, cost, arithmetic, watch);
    } else {
      auto result = guarded(body);
      end(name, cost, arithmetic, watch);
      return result;
    }
  }
  template <typename Body>
  std::invoke_result_t<Body> guarded(Body body) {
    try {
      return body();
    } catch (...) {
      if (log_ != nullptr) log_->drop();
      throw;
    }
  }
  void end(std::string_view name, OperationCost cost, Arithmetic arithmetic, const Stopwatch& watch) {
    if (log_ != nullptr) {
      log_->end(name, cost, arithmetic);
      return;
    }
    inner_->finish();
    profile_->add(name, watch.seconds(), cost.bytes, cost.flops, arithmetic);
  }

  static std::string linear_name(std::span<const LinearOp> ops) {
    std::string name = "linear ";
    for (const LinearOp& op : ops) {
      if (&op != ops.data()) name += " + ";
      name += op.weight->label();
    }
    return name;
  }
  /// The activations are read once for all.
  static OperationCost linear_costs(const Matrix& in, std::span<const LinearOp> ops) {
    OperationCost cost;
    for (const LinearOp& op : ops) {
      const OperationCost own =
          linear_cost(*op.weight, in.rows, op.bias != nullptr, op.accumulate, in.element, op.out.element);
      cost.bytes += own.bytes - (&op == ops.data() ? 0 : matrix_bytes(in));
      cost.flops += own.flops;
    }
    return cost;
  }
  static OperationCost sum(OperationCost a, OperationCost b) { return {a.bytes + b.bytes, a.flops + b.flops}; }
  static Arithmetic arithmetic_of_products(const Matrix& in, std::span<const LinearOp> ops) {
    return in.element == Element::bf16 ? Arithmetic::bf16 : arithmetic_of(ops.front().weight->format());
  }
  /// Devices whose matrices are bf16 multiply them on units of their own.
  static Arithmetic products_of(const Matrix& matrix) {
    return matrix.element == Element::bf16 ? Arithmetic::bf16 : Arithmetic::f32;
  }
  static double matrix_bytes(const Matrix& matrix) {
    return static_cast<double>(matrix.rows * matrix.cols) * element_bytes(matrix.element);
  }
  double token_bytes(AttentionShape shape) const {
    return static_cast<double>(inner_->kv_page_bytes(shape)) / static_cast<double>(inner_->kv_page_tokens());
  }

  std::unique_ptr<Backend> inner_;
  std::shared_ptr<Profile> profile_;
  std::unique_ptr<OperationLog> log_;  // null: the host's clock
};

}  // namespace

std::unique_ptr<Backend> make_profiling_backend(std::unique_ptr<Backend> inner, std::shared_ptr<Profile> profile) {
  return std::make_unique<ProfilingBackend>(std::move(inner), std::move(profile));
}

}  // namespace bamba::backend
