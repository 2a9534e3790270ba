#include "backend/cuda/joined_operations.h"

#include "backend/cuda/cuda_weight.h"

namespace bamba::backend::cuda {
namespace {

/// Whether kernels can read or write four neighbouring elements at once.
bool in_fours(const Matrix& matrix) {
  const size_t bytes = matrix.element == Element::f32 ? 16 : 8;
  return matrix.cols % 4 == 0 && matrix.stride % 4 == 0 && reinterpret_cast<uintptr_t>(matrix.data) % bytes == 0;
}
bool aligned(const float* vector) {
  return reinterpret_cast<uintptr_t>(vector) % 16 == 0;
}

/// Does each row belong to a sequence of its own?
bool decodes(std::span<const SequenceRows> sequences, int64_t rows) {
  if (std::ssize(sequences) != rows) return false;
  for (int64_t r = 0; r < rows; ++r) {
    const SequenceRows& sequence = sequences[static_cast<size_t>(r)];
    if (sequence.first != r || sequence.count != 1) return false;
  }
  return true;
}

}  // namespace

FixedRows JoinedOperations::fixed(const Matrix& matrix, const LinearWeight* reader, CudaContext::Scratch scales) {
  if (reader == nullptr || matrix.element != Element::bf16 || matrix.rows > kFixedRows ||
      matrix.cols % kFixedBoxInputs != 0 || matrix.cols > kFixedMostCols || matrix.stride % 8 != 0 ||
      reinterpret_cast<uintptr_t>(matrix.data) % 16 != 0) {
    return {};
  }
  const WeightKind kind = device_weight(*reader).kind;
  if (kind != WeightKind::q8 && kind != WeightKind::q4) return {};
  const int64_t groups = matrix.cols / kFixedGroup;
  auto* memory =
      static_cast<float*>(context_.scratch(scales, static_cast<size_t>(kFixedRows * groups) * sizeof(float)));
  ProductInput rows{matrix};
  rows.scales = memory;
  return fixed_rows(rows);
}

bool JoinedOperations::linear_rms_norm(const ProductInput& in, const LinearOp& op, const float* weight, float eps,
                                       Matrix normed, const LinearWeight* reader, ProductInput& result) {
  const bool fits = normed.element == Element::bf16 && op.out.element == Element::f32 && in_fours(normed) &&
                    in_fours(op.out) && aligned(weight);
  if (!fits || !products_.can_join(in, {&op, 1})) return false;
  const int64_t tiles = skinny_tiles(normed.cols);
  auto* squares = static_cast<float*>(
      context_.scratch(CudaContext::norm_squares, static_cast<size_t>(normed.rows * tiles) * sizeof(float)));
  ProductEnds ends;
  ends.norm = {weight, as<__nv_bfloat16>(normed.data), normed.stride, squares};
  ends.fixed_out = fixed(normed, reader, CudaContext::norm_scales);
  products_.joined(in, {&op, 1}, ends);
  result = {normed, squares, tiles, eps, ends.fixed_out.scales};
  return true;
}

bool JoinedOperations::linear_conv(const ProductInput& in, const LinearOp& op, int64_t first_column,
                                   const ConvOp& conv) {
  const int64_t channels = conv.shape.channels;
  const bool fits = conv.shape.width == 4 && first_column % kSkinnyTile == 0 && channels % kSkinnyTile == 0 &&
                    channels > 0 && conv.out.element == Element::bf16 && in_fours(conv.out) && aligned(conv.weight) &&
                    aligned(conv.bias) && decodes(conv.sequences, in.rows.rows);
  if (!fits || !products_.can_join(in, {&op, 1})) return false;
  lists_.make_room(conv.sequences.size());
  ProductEnds ends;
  ends.conv.windows = lists_.stage(conv.windows);
  ends.conv.weight = conv.weight;
  ends.conv.bias = conv.bias;
  ends.conv.out = as<__nv_bfloat16>(conv.out.data);
  ends.conv.out_stride = static_cast<int>(conv.out.stride);
  ends.conv.first = static_cast<int>(first_column);
  ends.conv.channels = static_cast<int>(channels);
  ends.conv.activation = conv.activation;
  products_.joined(in, {&op, 1}, ends);
  return true;
}

bool JoinedOperations::gated_linear(const ProductInput& in, const LinearOp& gate, const LinearOp& up,
                                    Activation activation, const LinearWeight* reader, ProductInput& result) {
  const LinearOp ops[] = {gate, up};
  if (!products_.can_join(in, ops) || gate.weight->out_features() != up.weight->out_features() ||
      gate.weight->format() != up.weight->format() || gate.accumulate || up.accumulate ||
      device_weight(*gate.weight).block_scales != nullptr || device_weight(*up.weight).block_scales != nullptr) {
    return false;
  }
  ProductEnds ends;
  ends.gated = true;
  ends.activation = activation;
  ends.fixed_out = fixed(gate.out, reader, CudaContext::gate_scales);
  products_.joined(in, ops, ends);
  result = {gate.out, nullptr, 0, 0, ends.fixed_out.scales};
  return true;
}

bool JoinedOperations::can_gate(const ScanOp& scan) const {
  return scan.out.rows > 0 && products_.joins(scan.out.element, scan.out.rows) && scan_gates(scan.shape);
}

ProductInput JoinedOperations::scan_gated_rms_norm(const ScanOp& scan, ScanArguments<__nv_bfloat16> arguments,
                                                   Matrix gate, const float* weight, float eps,
                                                   const LinearWeight* reader) {
  const Matrix& out = scan.out;
  const int64_t parts = out.cols / kSquareColumns;
  auto* squares = static_cast<float*>(
      context_.scratch(CudaContext::gate_squares, static_cast<size_t>(out.rows * parts) * sizeof(float)));
  arguments.gate = as<__nv_bfloat16>(gate.data);
  arguments.gate_stride = gate.stride;
  arguments.norm_weight = weight;
  arguments.squares = squares;
  arguments.fixed_out = fixed(out, reader, CudaContext::gate_scales);
  context_.queue.push(&scan_recurrent<__nv_bfloat16>, arguments);
  return {out, squares, parts, eps, arguments.fixed_out.scales};
}

}  // namespace bamba::backend::cuda
