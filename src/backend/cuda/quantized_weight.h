// q8 and q4 weights as the GPU reads them (weight-only: activations keep their precision), and their packing.
//
// One piece of memory, parts aligned to 256 bytes; K64 is the number of inputs, rounded up to a multiple of 64:
//   codes         [out][pitch] bytes
//                   q8: pitch K64, the int8 codes in order of inputs
//                   q4: pitch K64 / 2; of each 64 inputs 32 bytes: byte 8 t + 4 h + j has inputs 32 h + 8 t + 2 j (low
//                       half) and the next one (high half), for t < 4, h < 2, j < 4. So a lane of a tensor-core
//                       fragment finds its 8 inputs of one group, and beside them those of the next, in 8 bytes.
//   group scales  [groups][scale_pitch] int8, groups of K64; scale_pitch is out rounded up to 128, outputs inside each
//   32
//                   reordered (scale_place) so that the four rows of a lane lie side by side
//   row scales    [out] f32
// What pads is zero, and takes no part in sums.
#pragma once

#include <bamba/weight_format.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/cuda/skinny_weight.h"
#include "tensor/quantized_matrix.h"

namespace bamba::backend::cuda {

struct QuantizedLayout {
  /// Throws Error(invalid_argument) for a format other than q8 and q4.
  QuantizedLayout(WeightFormat format, int64_t out, int64_t in);

  int64_t group;        ///< inputs
  int64_t groups;       ///< of a row, padding included
  int64_t pitch;        ///< bytes of a row's codes
  int64_t scale_pitch;  ///< bytes of a group's scales
  size_t scales_offset;
  size_t row_scales_offset;
  size_t bytes;
};

/// Where output o's scale lies in its group's.
constexpr int64_t scale_place(int64_t o) {
  return o / 32 * 32 + o % 8 * 4 + o / 8 % 4;
}
/// Byte of the q4 code of input k in its row; its low half for an even k.
constexpr int64_t q4_place(int64_t k) {
  return k / 64 * 32 + k % 32 / 8 * 8 + k / 32 % 2 * 4 + k % 8 / 2;
}

/// Packs into host memory of QuantizedLayout::bytes.
void pack_quantized(const QuantizedMatrix& matrix, std::byte* target);

/// Packs panels of 64 outputs, as the CPU backend and quantized checkpoints have them (backend/cpu/quantized.h):
/// panels [first, first + count) of a weight [out, in], `panels` being all of its panels. Different panels may be
/// packed by different threads. Every byte of the target is written once all panels are.
void pack_quantized_panels(WeightFormat format, int64_t out, int64_t in, std::span<const std::byte> panels,
                           int64_t first, int64_t count, std::byte* target);

/// The weight whose packed bytes lie at `memory` (aligned to 256) on the device.
DeviceWeight quantized_device_weight(WeightFormat format, int64_t out, int64_t in, const void* memory);

}  // namespace bamba::backend::cuda
