#include "backend/cuda/quantized_weight.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/quantized.h"

namespace bamba::backend::cuda {
namespace {

constexpr size_t kPartAlignment = 256;

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// The parts of a packed weight on the host.
class Target {
 public:
  Target(WeightFormat format, int64_t out, int64_t in, std::byte* memory)
      : layout_(format, out, in), out_(out), memory_(memory) {}

  const QuantizedLayout& layout() const { return layout_; }
  std::byte* codes(int64_t o) const { return memory_ + o * layout_.pitch; }
  void set_row_scale(int64_t o, float scale) const {
    std::memcpy(memory_ + layout_.row_scales_offset + o * 4, &scale, sizeof(scale));
  }
  void set_group_scale(int64_t o, int64_t g, std::byte scale) const {
    memory_[layout_.scales_offset + static_cast<size_t>(g * layout_.scale_pitch + scale_place(o))] = scale;
  }
  /// Groups past the inputs.
  void clear_padding(int64_t o, int64_t groups) const {
    const int64_t group_bytes = layout_.pitch / layout_.groups;
    for (int64_t g = groups; g < layout_.groups; ++g) {
      set_group_scale(o, g, std::byte{0});
      // Only q4 pads by whole groups: the second of a pair, whose 4-byte words alternate with the first's.
      for (int64_t t = 0; t < 4; ++t) std::memset(codes(o) + g / 2 * 2 * group_bytes + t * 8 + 4, 0, 4);
    }
  }
  /// Outputs past the last one have scales, too.
  void clear_scales_after_last() const {
    for (int64_t o = out_; o < layout_.scale_pitch; ++o) {
      for (int64_t g = 0; g < layout_.groups; ++g) set_group_scale(o, g, std::byte{0});
    }
  }

 private:
  QuantizedLayout layout_;
  int64_t out_;
  std::byte* memory_;
};

}  // namespace

QuantizedLayout::QuantizedLayout(WeightFormat format, int64_t out, int64_t in) : group(group_size(format)) {
  const int64_t inputs = round_up(in, 64);
  groups = inputs / group;
  pitch = format == WeightFormat::q4 ? inputs / 2 : inputs;
  scale_pitch = round_up(out, 128);
  const auto align = [](size_t size) { return (size + kPartAlignment - 1) / kPartAlignment * kPartAlignment; };
  scales_offset = align(static_cast<size_t>(out * pitch));
  row_scales_offset = scales_offset + align(static_cast<size_t>(groups * scale_pitch));
  bytes = row_scales_offset + align(static_cast<size_t>(out) * sizeof(float));
}

void pack_quantized(const QuantizedMatrix& matrix, std::byte* target) {
  const Target to(matrix.format, matrix.rows, matrix.cols, target);
  const bool q4 = matrix.format == WeightFormat::q4;
  for (int64_t o = 0; o < matrix.rows; ++o) {
    to.set_row_scale(o, matrix.row_scales[static_cast<size_t>(o)]);
    for (int64_t g = 0; g < matrix.groups(); ++g) {
      to.set_group_scale(o, g, static_cast<std::byte>(matrix.scales(o)[g]));
    }
    const int8_t* codes = matrix.codes(o);
    const int64_t inputs = matrix.groups() * matrix.group;
    if (q4) {
      for (int64_t k = 0; k < inputs; k += 2) {
        to.codes(o)[q4_place(k)] = static_cast<std::byte>((codes[k] & 15) | (codes[k + 1] & 15) << 4);
      }
    } else {
      std::memcpy(to.codes(o), codes, static_cast<size_t>(inputs));
    }
    to.clear_padding(o, matrix.groups());
  }
  to.clear_scales_after_last();
}

void pack_quantized_panels(WeightFormat format, int64_t out, int64_t in, std::span<const std::byte> panels,
                           int64_t first, int64_t count, std::byte* target) {
  const Target to(format, out, in, target);
  const bool q4 = format == WeightFormat::q4;
  const int64_t group = to.layout().group;
  const int64_t groups = (in + group - 1) / group;
  const int64_t inputs_of_unit = q4 ? 8 : 4;
  const int64_t units = group / inputs_of_unit;
  const auto panel_bytes = static_cast<size_t>(cpu::quant_panel_bytes(format, in));
  for (int64_t p = first; p < first + count; ++p) {
    const auto panel = panels.subspan(static_cast<size_t>(p) * panel_bytes, panel_bytes);
    const int64_t rows = std::min(cpu::kQuantPanel, out - p * cpu::kQuantPanel);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t o = p * cpu::kQuantPanel + r;
      float row_scale = 0;
      std::memcpy(&row_scale, panel.data() + r * 4, sizeof(row_scale));
      to.set_row_scale(o, row_scale);
      for (int64_t g = 0; g < groups; ++g) {
        const std::byte* of_group = panel.data() + cpu::kQuantRowScaleBytes + g * cpu::quant_group_bytes(format, group);
        to.set_group_scale(o, g, of_group[r]);
        const std::byte* source =
            of_group + cpu::kQuantGroupScaleBytes + r / cpu::kUnit * units * cpu::kUnitBytes + r % cpu::kUnit * 4;
        for (int64_t u = 0; u < units; ++u) {
          uint32_t word = 0;
          std::memcpy(&word, source + u * cpu::kUnitBytes, sizeof(word));
          const int64_t k = g * group + u * inputs_of_unit;
          if (q4) {
            // Bytes 0 to 3 have inputs 0 to 3 in their low halves and 4 to 7 in their high ones.
            const uint32_t low = word & 0x0F0F0F0FU;
            const uint32_t high = word >> 4 & 0x0F0F0F0FU;
            const auto join = [](uint32_t v) {
              return (v & 0xFF) | (v >> 4 & 0xF0) | (v >> 8 & 0xF00) | (v >> 12 & 0xF000);
            };
            word = join(low) | join(high) << 16;
            std::memcpy(to.codes(o) + q4_place(k), &word, sizeof(word));
          } else {
            word ^= 0x80808080U;  // code + 128 to the code itself
            std::memcpy(to.codes(o) + k, &word, sizeof(word));
          }
        }
      }
      to.clear_padding(o, groups);
    }
    if ((p + 1) * cpu::kQuantPanel >= out) to.clear_scales_after_last();
  }
}

DeviceWeight quantized_device_weight(WeightFormat format, int64_t out, int64_t in, const void* memory) {
  const QuantizedLayout layout(format, out, in);
  const auto* bytes = static_cast<const std::byte*>(memory);
  DeviceWeight weight;
  weight.kind = format == WeightFormat::q4 ? WeightKind::q4 : WeightKind::q8;
  weight.out = out;
  weight.in = in;
  weight.codes = bytes;
  weight.pitch = layout.pitch;
  weight.group_scales = reinterpret_cast<const int8_t*>(bytes + layout.scales_offset);
  weight.row_scales = reinterpret_cast<const float*>(bytes + layout.row_scales_offset);
  return weight;
}

}  // namespace bamba::backend::cuda
