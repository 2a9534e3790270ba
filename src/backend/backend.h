// The operations a Bamba model needs. Model code is written once against this interface; each device implements it.
//
// Conventions
//  * A pass runs over R rows: the new tokens of all sequences, packed one after the other, never padded.
//  * Activations are row-major, in the device's memory; a Matrix is a view [rows, cols] with a row stride. The residual
//    stream and the logits are f32; what lies between is of the device's intermediate_element().
//  * SequenceRows says which rows belong to one sequence and where in the sequence they start. Rows of one sequence
//    are consecutive and in order.
//  * Results for a row depend on that row's own sequence only, bit for bit: never on other rows, on how a prompt was
//    cut into passes, or on the number of threads.
#pragma once

#include <bamba/activation_format.h>
#include <bamba/dtype.h>
#include <bamba/error.h>
#include <bamba/kv_format.h>
#include <bamba/tensor.h>
#include <bamba/token_draw.h>
#include <bamba/weight_format.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "tensor/fp8_matrix.h"
#include "tensor/quantized_matrix.h"

namespace bamba::backend {

/// Device memory with shared ownership.
class Buffer {
 public:
  Buffer() = default;
  Buffer(std::shared_ptr<void> memory, size_t bytes) : memory_(std::move(memory)), bytes_(bytes) {}

  explicit operator bool() const { return memory_ != nullptr; }
  size_t bytes() const { return bytes_; }
  float* floats() const { return static_cast<float*>(memory_.get()); }
  /// True when no other Buffer refers to this memory (so it may be written in place).
  bool unique() const {
    if (memory_.use_count() != 1) return false;
    // What a last other owner did with the memory, in another thread, comes before what is written after this.
    std::atomic_thread_fence(std::memory_order_acquire);
    return true;
  }

 private:
  std::shared_ptr<void> memory_;
  size_t bytes_ = 0;
};

/// What a matrix of activations holds.
enum class Element { f32, bf16 };

/// View of device memory, [rows, cols], element (r, c) at data[r * stride + c]. f32 but on devices whose
/// intermediate_element() is bf16: there `data` of such a matrix is an address only.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  ///< elements
  Element element = Element::f32;

  /// The address of element (row, col).
  float* at(int64_t row, int64_t col) const {
    const int64_t index = row * stride + col;
    return element == Element::f32 ? data + index : reinterpret_cast<float*>(reinterpret_cast<uint16_t*>(data) + index);
  }
  Matrix columns(int64_t first, int64_t count) const { return {at(0, first), rows, count, stride, element}; }
  Matrix below(int64_t first, int64_t count) const { return {at(first, 0), count, cols, stride, element}; }
  Matrix top(int64_t count) const { return {data, count, cols, stride, element}; }
};

enum class Activation { silu, gelu, gelu_tanh, relu };

/// A linear layer's weight [out_features, in_features] in the device's own layout.
class LinearWeight {
 public:
  LinearWeight(int64_t out, int64_t in, WeightFormat format) : out_(out), in_(in), format_(format) {}
  virtual ~LinearWeight() = default;
  LinearWeight(const LinearWeight&) = delete;
  LinearWeight& operator=(const LinearWeight&) = delete;
  int64_t out_features() const { return out_; }
  int64_t in_features() const { return in_; }
  WeightFormat format() const { return format_; }
  /// What the weight is called where operations are listed: "mamba.in_proj". Empty unless given.
  const std::string& label() const { return label_; }
  void set_label(std::string label) { label_ = std::move(label); }
  /// Bytes read when the whole weight is used once.
  virtual size_t bytes() const = 0;
  /// q8 and q4 only: the packed weight on the host, in the layout of backend/cpu/quantized.h, which
  /// Backend::adopt_quantized takes back; empty for other formats.
  virtual std::span<const std::byte> packed() const { return {}; }

 private:
  int64_t out_;
  int64_t in_;
  WeightFormat format_;
  std::string label_;
};

/// One product of several that read the same activations: out[r, o] = sum_k in[r, k] * weight[o, k] (+ bias[o])
/// (+ out[r, o] when accumulate).
struct LinearOp {
  const LinearWeight* weight;
  const float* bias;  ///< [out_features], or null
  bool accumulate;
  Matrix out;  ///< [rows of in, out_features]
};

/// Rows [first, first + count) of a pass are tokens [start, start + count) of one sequence.
struct SequenceRows {
  int64_t first = 0;
  int64_t count = 0;
  int64_t start = 0;
};

struct ConvShape {
  int64_t channels;  ///< conv_dim
  int64_t width;     ///< d_conv (taps)
};

struct ScanShape {
  int64_t n_heads;
  int64_t d_head;
  int64_t n_groups;  ///< head h reads B and C of group h / (n_heads / n_groups)
  int64_t d_state;
  int64_t chunk_size;
  float time_step_min;  ///< time_step_limit
  float time_step_max;
};

struct AttentionShape {
  int64_t n_heads;
  int64_t n_kv_heads;
  int64_t head_dim;
  int64_t rotary_dim;
  KvFormat kv = KvFormat::f32;  ///< what the pages hold
};

/// What a convolution takes besides its input: see Backend::causal_conv.
struct ConvOp {
  std::span<const SequenceRows> sequences;
  std::span<float* const> windows;
  const float* weight;
  const float* bias;
  ConvShape shape;
  Activation activation;
  Matrix out;
};

/// What a scan takes: see Backend::selective_scan.
struct ScanOp {
  Matrix xbc;
  Matrix dt;
  std::span<const SequenceRows> sequences;
  std::span<float* const> states;
  const float* a;
  const float* d;
  const float* dt_bias;
  ScanShape shape;
  ScanForm form;
  Matrix out;
};

/// Rows on their way to the products that read them. A device may leave the factor of a norm, which is
/// 1 / sqrt(mean of squares + eps) for each row, to those products: then `rows` lack it, and the sum over
/// squares[r, 0 .. parts) is what row r had as its sum of squares. It may also keep the numbers in a form of its own.
struct ProductInput {
  Matrix rows;
  const float* squares = nullptr;  ///< the device's, [rows, parts]; null: `rows` are complete
  int64_t parts = 0;
  float eps = 0;
  float* scales = nullptr;  ///< the device's; not null: only it can read `rows`
};

/// What the device can do at best.
struct MachineRoof {
  double read_bytes_per_second;      ///< of memory that no cache holds
  double f32_flops_per_second;       ///< a multiply-add is two
  double int8_ops_per_second;        ///< u8 x s8 dot products with 32-bit sums; a multiply-add is two
  double bf16_flops_per_second = 0;  ///< products of bf16 with f32 sums, where they have units of their own
};

/// Measures operations by the device's own clock, where that runs beside the host: nobody waits between operations, so
/// what the host does meanwhile is in no operation's time.
class OperationTimer {
 public:
  virtual ~OperationTimer() = default;
  /// What the backend is told from here on, up to end(), is one operation. A begin() without its end() is forgotten
  /// with the next.
  virtual void begin() = 0;
  virtual void end() = 0;
  /// Waits for all operations and appends the seconds that each took which ended since the last collect() or forget(),
  /// in order.
  virtual void collect(std::vector<double>& seconds) = 0;
  /// Drops what was not collected: after an error it may never have run.
  virtual void forget() = 0;
};

/// What a device's own memory holds, in bytes.
struct DeviceMemory {
  size_t capacity = 0;  ///< what this backend may use; 0 where it uses the host's
  size_t used = 0;
  size_t peak = 0;  ///< the most that was in use at one time
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  /// Host threads that work on one operation.
  virtual int threads() const = 0;
  /// Runs body(task, thread) on them for each task in [0, tasks), for the caller's own work between operations: see
  /// ThreadPool::parallel_for. Any thread may call.
  virtual void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) = 0;
  /// Measures the device with all of this backend's threads; takes under a second and 512 MiB of memory meanwhile.
  virtual MachineRoof measure_roof() = 0;
  /// What the model's intermediate matrices hold: all but the residual stream and the logits.
  virtual Element intermediate_element() const { return Element::f32; }
  /// Are buffers host memory, which any thread may read as it lies?
  virtual bool buffers_on_host() const { return false; }
  /// Returns when all operations so far are done. Devices that work beside the caller do so otherwise only where
  /// results come to the host.
  virtual void finish() {}
  /// Null where the host's clock serves: the CPU's operations are done when they return. A backend with a timer may run
  /// slower, and must outlive it.
  virtual std::unique_ptr<OperationTimer> make_operation_timer() { return nullptr; }
  virtual DeviceMemory memory() const { return {}; }

  // --- memory -------------------------------------------------------------------------------------------------
  /// Zero-filled. Throws Error(out_of_memory).
  virtual Buffer allocate(size_t bytes) = 0;
  virtual Buffer clone(const Buffer& source) = 0;
  virtual void upload(const Buffer& target, size_t offset, const void* host, size_t bytes) = 0;
  virtual void download(const Buffer& source, size_t offset, void* host, size_t bytes) = 0;
  /// Copies a device matrix to host rows of `host_stride` floats.
  virtual void download_rows(Matrix source, float* host, int64_t host_stride) = 0;
  virtual void upload_rows(const float* host, int64_t host_stride, Matrix target) = 0;

  // --- weights ------------------------------------------------------------------------------------------------
  /// What weights packed to `wanted` are held as: another format where the device has no kernels for it.
  virtual WeightFormat held_format(WeightFormat wanted) const { return wanted; }
  /// Converts and packs a host tensor [out, in] (f32, bf16 or f16). f32 to a 16-bit format rounds to nearest even; to
  /// q8 or q4 each group of weights rounds to nearest (quantize_row), to fp8 each row (quantize_fp8). Throws
  /// Error(non_finite) when a weight to be quantized is not finite.
  virtual std::unique_ptr<LinearWeight> pack_linear(const Tensor& weight, WeightFormat format) = 0;
  /// The same for an embedding that is only looked up (embed), never multiplied with.
  virtual std::unique_ptr<LinearWeight> pack_embedding(const Tensor& weight, WeightFormat format) = 0;
  /// Packs weights that were quantized elsewhere.
  virtual std::unique_ptr<LinearWeight> pack_quantized(const QuantizedMatrix& weight) = 0;
  /// Whether there are kernels for fp8 weights with scales for blocks of this size.
  virtual bool keeps_fp8_blocks(const Fp8Block& block) const {
    static_cast<void>(block);
    return false;
  }
  /// Packs weights that came as fp8: exact, or rounded to held_format(fp8), and to bf16 where their scales are for
  /// blocks that the device does not keep. Throws Error(non_finite) when a code is NaN.
  virtual std::unique_ptr<LinearWeight> pack_fp8(const Fp8Matrix& weight) = 0;
  /// Bytes of a packed q8 or q4 weight of this shape.
  virtual size_t quantized_bytes(int64_t out, int64_t in, WeightFormat format) const = 0;
  /// A weight over bytes that packed() gave; `memory` (aligned to 64, of quantized_bytes) is read where it lies and
  /// kept alive. Any contents are safe to multiply with.
  virtual std::unique_ptr<LinearWeight> adopt_quantized(int64_t out, int64_t in, WeightFormat format,
                                                        std::shared_ptr<const std::byte> memory) = 0;
  /// Rows [first_row, first_row + rows) as f32 [rows, in]. Exact.
  virtual void unpack_linear(const LinearWeight& weight, int64_t first_row, int64_t rows, float* host) = 0;
  /// A small f32 vector or table on the device.
  virtual Buffer upload_vector(std::span<const float> values) = 0;

  // --- the forward's operations -------------------------------------------------------------------------------
  /// out[r] = row ids[r] of the embedding [vocab, hidden]. ids are checked by the caller.
  virtual void embed(std::span<const int32_t> ids, const LinearWeight& table, Matrix out) = 0;

  /// Products of the same activations with several weights of in.cols inputs each. The outs do not overlap each other
  /// nor `in`.
  virtual void linear(Matrix in, std::span<const LinearOp> ops) = 0;
  void linear(Matrix in, const LinearWeight& weight, const float* bias, bool accumulate, Matrix out) {
    const LinearOp op{&weight, bias, accumulate, out};
    linear(in, {&op, 1});
  }

  /// out[r] = weight * in[r] / sqrt(mean(in[r]^2) + eps).
  virtual void rms_norm(Matrix in, const float* weight, float eps, Matrix out) = 0;
  /// u = in * silu(gate); in place: in[r] = weight * u / sqrt(mean(u^2) + eps), the mean over each of `groups` equal
  /// parts of the row (1 for Bamba: over the whole width).
  virtual void gated_rms_norm(Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups) = 0;
  /// gate[r, c] = act(gate[r, c]) * up[r, c].
  virtual void gated_activation(Matrix gate, Matrix up, Activation activation) = 0;

  /// columns[r] (host) = where row r has its largest value, the first of equals; where not all of its values are
  /// finite, -1 - c, c being the first that is not.
  virtual void best_columns(Matrix in, std::span<int64_t> columns) = 0;
  /// Whether draw_columns() works. Where logits are in the host's memory anyway, who wants to draw does it there, with
  /// more settings than these.
  virtual bool draws_tokens() const { return false; }
  /// columns[r] (host) = the column drawn from row r as draws[r] says; where not all of its values are finite, as for
  /// best_columns. Depends on the row and its draw alone.
  virtual void draw_columns(Matrix /*in*/, std::span<const TokenDraw> /*draws*/, std::span<int64_t> /*columns*/) {
    throw Error(ErrorCode::unsupported, "this device draws no tokens");
  }

  /// Causal depthwise convolution over each sequence, bias (or null) added, then `activation`. weight: [width,
  /// channels]. windows[i]: [width, channels], the sequence's last inputs, oldest first; read and brought up to date.
  virtual void causal_conv(Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                           const float* weight, const float* bias, ConvShape shape, Activation activation,
                           Matrix out) = 0;

  /// Selective scan of Mamba-2. xbc rows: x [n_heads, d_head] | B [n_groups, d_state] | C [n_groups, d_state];
  /// dt rows: [n_heads], before bias and softplus; a = -exp(A_log), d, dt_bias: [n_heads].
  /// states[i]: [n_heads, d_state, d_head], read and brought up to date. out rows: [n_heads * d_head].
  /// ScanForm::chunked keeps the promise of identical bits only for passes cut at multiples of chunk_size from the
  /// sequence's start (a partial chunk ends where the pass does); ScanForm::recurrent for any cut.
  virtual void selective_scan(Matrix xbc, Matrix dt, std::span<const SequenceRows> sequences,
                              std::span<float* const> states, const float* a, const float* d, const float* dt_bias,
                              ScanShape shape, ScanForm form, Matrix out) = 0;

  /// Rotates the first rotary_dim entries of every head in place; pairs (j, j + rotary_dim / 2).
  /// cos_sin: host table, row r = rotary_dim/2 cosines, then rotary_dim/2 sines.
  virtual void rotate(Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim, const float* cos_sin) = 0;

  // --- operations in a row --------------------------------------------------------------------------------------
  // Each stands for several of those above and does them one after the other, unless a device has them in one piece;
  // then results are rounded at fewer places.
  /// Whether a device may have that for passes of this many rows.
  virtual bool joins_operations(int64_t rows) const {
    static_cast<void>(rows);
    return false;
  }
  // `reader`: a weight that the result will be multiplied with, if any is known; what form suits it.
  /// The rows as the model knows them, in the same memory.
  virtual Matrix complete(const ProductInput& in) { return in.rows; }
  /// linear() of such rows.
  virtual void linear_from(const ProductInput& in, std::span<const LinearOp> ops) { linear(complete(in), ops); }
  /// linear(op), then rms_norm(op.out) to `normed`.
  virtual ProductInput linear_rms_norm(const ProductInput& in, const LinearOp& op, const float* weight, float eps,
                                       Matrix normed, const LinearWeight* reader);
  /// linear(op), then causal_conv() of the columns of op.out from first_column on, which may be left unwritten.
  virtual void linear_conv(const ProductInput& in, const LinearOp& op, int64_t first_column, const ConvOp& conv);
  /// selective_scan(), then gated_rms_norm() of its result, in one group.
  virtual ProductInput scan_gated_rms_norm(const ScanOp& scan, Matrix gate, const float* weight, float eps,
                                           const LinearWeight* reader);
  /// linear() of both, then gated_activation(gate.out, up.out): the result is in gate.out, up.out may be left
  /// unwritten.
  virtual ProductInput gated_linear(const ProductInput& in, const LinearOp& gate, const LinearOp& up,
                                    Activation activation, const LinearWeight* reader);

  // --- paged keys and values ----------------------------------------------------------------------------------
  // Pages are opaque: float* is only their address; shape.kv says what a device keeps there.
  /// Tokens of one page, and bytes of one page of one attention layer (keys and values of all KV heads).
  virtual int64_t kv_page_tokens() const = 0;
  virtual size_t kv_page_bytes(AttentionShape shape) const = 0;
  /// Writes keys and values of the sequences' new tokens, rounded to nearest even where pages are bf16; pages[i] covers
  /// tokens [0, start + count) of sequence i.
  virtual void kv_append(Matrix keys, Matrix values, std::span<const SequenceRows> sequences,
                         std::span<float* const* const> pages, AttentionShape shape) = 0;
  /// Host copies [n_kv_heads, tokens, head_dim] of tokens [0, tokens), exact.
  virtual void kv_read(float* const* pages, int64_t tokens, AttentionShape shape, float* keys, float* values) = 0;
  /// Inverse of kv_read, for restoring a saved state; rounds as kv_append does.
  virtual void kv_write(float* const* pages, int64_t tokens, AttentionShape shape, const float* keys,
                        const float* values) = 0;

  /// Causal attention of each new token over its sequence's pages, f32 softmax of q.k / sqrt(head_dim).
  virtual void attention(Matrix queries, std::span<const SequenceRows> sequences, std::span<float* const* const> pages,
                         AttentionShape shape, Matrix out) = 0;
  /// The weights attention() uses, for one sequence: host f32 [n_heads, count, total_stride], where token t's weights
  /// fill the first start + t + 1 entries of its row and zeros the rest up to start + count.
  virtual void attention_weights(Matrix queries, SequenceRows sequence, float* const* pages, AttentionShape shape,
                                 float* host, int64_t head_stride, int64_t row_stride) = 0;
};

/// The CPU backend. threads <= 0: as many as the process may use.
std::unique_ptr<Backend> make_cpu_backend(int threads, ActivationFormat activations = ActivationFormat::f32);
/// Settings of the CUDA backend.
struct CudaOptions {
  ActivationFormat activations = ActivationFormat::bf16;  ///< f32: for checking, without tensor cores
  size_t memory = 0;                                      ///< bytes of the GPU to take; 0: nine tenths of what is free
  /// Products and attention by the same kernels in the same order for any number of rows: a sequence's bits then depend
  /// on nothing but itself (with ScanForm::recurrent), prompts take several times as long.
  bool bit_exact = false;
};
/// The first CUDA device. Throws Error(unsupported) where this build has no CUDA backend or the machine no GPU of
/// compute capability 9.0, Error(out_of_memory) where the GPU has not that much memory free.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);
/// The instruction set that the CPU's kernels run with on this machine: "AVX-512", "AVX2", "SSE4", ...
std::string_view cpu_target_name();

}  // namespace bamba::backend
