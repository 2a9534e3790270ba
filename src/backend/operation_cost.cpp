#include "backend/operation_cost.h"

namespace bamba::backend {
namespace {

constexpr double kFloat = sizeof(float);
/// x * sigmoid(x): negate, exp, add, divide. Other activations are counted like it.
constexpr double kActivationFlops = 4;

double as_double(auto value) {
  return static_cast<double>(value);
}

}  // namespace

Arithmetic arithmetic_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
    case WeightFormat::bf16:
    case WeightFormat::f16:
    case WeightFormat::fp8:
      return Arithmetic::f32;
    case WeightFormat::q8:
    case WeightFormat::q4:
      return Arithmetic::int8;
  }
  return Arithmetic::f32;
}

double element_bytes(Element element) {
  return element == Element::f32 ? 4 : 2;
}

OperationCost copy_cost(double bytes) {
  return {2 * bytes, 0};
}

OperationCost embed_cost(const LinearWeight& table, int64_t rows) {
  const double row = as_double(table.bytes()) / as_double(table.out_features());
  return {as_double(rows) * (row + kFloat * as_double(table.in_features())), 0};
}

OperationCost linear_cost(const LinearWeight& weight, int64_t rows, bool bias, bool accumulate, Element in_element,
                          Element out_element) {
  const double out = as_double(weight.out_features());
  const double in = as_double(weight.in_features());
  const double results = as_double(rows) * out;
  const double written = (accumulate ? 2 : 1) * results;  // what is added to is read first
  return {as_double(weight.bytes()) + element_bytes(in_element) * as_double(rows) * in +
              element_bytes(out_element) * written + kFloat * (bias ? out : 0),
          2 * results * in + (bias ? results : 0) + (accumulate ? results : 0)};
}

OperationCost rms_norm_cost(int64_t rows, int64_t cols, Element out) {
  const double elements = as_double(rows * cols);
  // Square and add; scale and weigh.
  return {kFloat * (elements + as_double(cols)) + element_bytes(out) * elements, 4 * elements};
}

OperationCost gated_rms_norm_cost(int64_t rows, int64_t cols, Element element) {
  const double elements = as_double(rows * cols);
  return {element_bytes(element) * 3 * elements + kFloat * as_double(cols), (kActivationFlops + 5) * elements};
}

OperationCost gated_activation_cost(int64_t rows, int64_t cols, Element element) {
  const double elements = as_double(rows * cols);
  return {element_bytes(element) * 3 * elements, (kActivationFlops + 1) * elements};
}

OperationCost causal_conv_cost(int64_t rows, size_t sequences, ConvShape shape, bool bias, Element element) {
  const double channels = as_double(shape.channels);
  const double width = as_double(shape.width);
  const double elements = as_double(rows) * channels;
  const double windows = 2 * as_double(sequences) * width * channels;  // read and written
  return {element_bytes(element) * 2 * elements + kFloat * (windows + (width + (bias ? 1 : 0)) * channels),
          elements * (2 * width + (bias ? 1 : 0) + kActivationFlops)};
}

OperationCost selective_scan_cost(int64_t rows, size_t sequences, ScanShape shape, Element element) {
  const double heads = as_double(shape.n_heads);
  const double inner = heads * as_double(shape.d_head);
  const double state = inner * as_double(shape.d_state);
  const double token = inner + 2 * as_double(shape.n_groups * shape.d_state) + heads + inner;  // x, B, C, dt; y
  // Each element of the state: decay, add dt * x * B, multiply by C and add. Each output: dt * x, D * x added. Each
  // head: dt + bias, softplus (exp, add, log), exp(dt * a).
  return {element_bytes(element) * as_double(rows) * token + kFloat * (2 * as_double(sequences) * state + 3 * heads),
          as_double(rows) * (5 * state + 3 * inner + 6 * heads)};
}

OperationCost rotate_cost(int64_t rows, int64_t n_heads, int64_t rotary_dim, Element element) {
  const double elements = as_double(rows * n_heads * rotary_dim);
  return {element_bytes(element) * 2 * elements + kFloat * as_double(rows * rotary_dim), 3 * elements};
}

OperationCost kv_append_cost(int64_t rows, double token_bytes, AttentionShape shape, Element element) {
  const double given = element_bytes(element) * 2 * as_double(shape.n_kv_heads * shape.head_dim);
  return {as_double(rows) * (given + token_bytes), 0};
}

OperationCost attention_cost(std::span<const SequenceRows> sequences, double token_bytes, AttentionShape shape,
                             Element element) {
  const double width = as_double(shape.n_heads * shape.head_dim);
  // A query and a key: multiply and add, scale, subtract the largest, exp, sum. A weight and a value: multiply and add.
  const double pair = 4 * width + 4 * as_double(shape.n_heads);
  OperationCost cost;
  for (const SequenceRows& sequence : sequences) {
    const double count = as_double(sequence.count);
    const double pairs = count * as_double(sequence.start) + count * (count + 1) / 2;
    cost.bytes += 2 * element_bytes(element) * count * width + token_bytes * as_double(sequence.start + sequence.count);
    cost.flops += pairs * pair;
  }
  return cost;
}

}  // namespace bamba::backend
