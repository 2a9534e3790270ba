// Products with q8 and q4 weights: the packed layout, and the kernels that read it.
//
// Layout of a panel of 64 outputs, one stream that is read from front to back:
//   64 f32 row scales
//   for each group of inputs: 64 int8 group scales (one an output), then the codes, 16 outputs after 16 outputs;
//     q8: for each 4 inputs 64 bytes, byte 4 i + j: output i, input j, as code + 128 (unsigned, what dot-product
//         instructions take);
//     q4: for each 8 inputs 64 bytes, the low halves as above for the first 4 inputs, the high halves for the next 4.
//
// The arithmetic: activations are rounded to 8 bits, x ~ x_scale[group] * x_code. A level has 128 added to it, so
//   sum level * x_code = sum (level + 128) * x_code - 128 * sum x_code,
// all in integers and exact; then out += (integer sum * x_scale) * group_scale in f32, group after group in order, and
// the row scale last. Every instruction set gives the same bits (but without FMA each sum is rounded once more).
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.h"

namespace bamba::backend::cpu {

constexpr int64_t kQuantPanel = 64;  ///< outputs of a panel
constexpr int64_t kUnit = 16;        ///< outputs whose codes for 4 inputs fill 64 bytes
constexpr int64_t kUnitBytes = 64;
constexpr int64_t kQuantRowScaleBytes = kQuantPanel * 4;
constexpr int64_t kQuantGroupScaleBytes = kQuantPanel;

/// Bytes of one group of a panel, scales included.
constexpr int64_t quant_group_bytes(WeightFormat format, int64_t group) {
  return kQuantGroupScaleBytes + kQuantPanel * group / (format == WeightFormat::q4 ? 2 : 1);
}
/// Bytes of a panel whose rows have `in` inputs.
int64_t quant_panel_bytes(WeightFormat format, int64_t in);
/// Bytes of a weight [out, in].
inline size_t quantized_bytes(int64_t out, int64_t in, WeightFormat format) {
  return static_cast<size_t>((out + kQuantPanel - 1) / kQuantPanel) *
         static_cast<size_t>(quant_panel_bytes(format, in));
}

/// Rows of activations, rounded to 8 bits in groups.
struct QuantizedRows {
  std::byte* codes;      ///< [rows][code_stride]
  float* scales;         ///< [rows][groups]
  int32_t* corrections;  ///< [rows][groups]: -128 * sum of the group's codes
  int64_t code_stride;   ///< bytes
  int64_t groups;
};

/// The kernels of one instruction set.
struct QuantizedKernels {
  const char* name;
  /// Bytes that one activation's code takes: 1, or 2 where dot products are made of 16-bit ones.
  int64_t code_bytes;
  /// Rows whose codes stay in L2 while the panels pass by: half of it with 4096 inputs.
  int64_t row_block;
  /// Rounds one row of `cols` activations; `row` is its number in `out`.
  void (*quantize_row)(const float* x, int64_t cols, int64_t group, const QuantizedRows& out, int64_t row);
  /// sums[r, o] = the product of activations row0 + r with the panel's 64 outputs; sums: [rows, 64].
  void (*panel)(WeightFormat format, const std::byte* panel, const QuantizedRows& x, int64_t row0, int64_t rows,
                float* sums);
};

/// The best kernels of this machine.
const QuantizedKernels& quantized_kernels();
/// Keeps dot-product instructions (VNNI) from being chosen, as on a machine without them; for tests.
void disable_vnni(bool disabled);

}  // namespace bamba::backend::cpu
