#include "backend/cpu/pack_quantized.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/quantized.h"

namespace bamba::backend::cpu {
namespace {

static_assert(kPanel == kQuantPanel);

/// The places of one output in its panel.
class RowPlace {
 public:
  RowPlace(WeightFormat format, int64_t in, int64_t row_in_panel)
      : q4_(format == WeightFormat::q4),
        group_(group_size(format)),
        group_bytes_(quant_group_bytes(format, group_)),
        groups_((in + group_ - 1) / group_),
        row_(row_in_panel) {}

  int64_t group() const { return group_; }
  int64_t groups() const { return groups_; }
  int64_t row_scale() const { return row_ * 4; }
  int64_t group_scale(int64_t g) const { return kQuantRowScaleBytes + g * group_bytes_ + row_; }
  /// Byte of input i of group g, and by how many bits its code is shifted in it.
  int64_t code(int64_t g, int64_t i, int& shift) const {
    const int64_t inputs = q4_ ? 8 : 4;  // of 64 bytes
    const int64_t unit_bytes = group_ / inputs * kUnitBytes;
    shift = q4_ && i % 8 >= 4 ? 4 : 0;
    return kQuantRowScaleBytes + g * group_bytes_ + kQuantGroupScaleBytes + row_ / kUnit * unit_bytes +
           i / inputs * kUnitBytes + row_ % kUnit * 4 + i % 4;
  }

 private:
  bool q4_;
  int64_t group_;
  int64_t group_bytes_;
  int64_t groups_;
  int64_t row_;
};

/// Writes one row into a panel of zero bytes.
void write_row(WeightFormat format, int64_t in, int64_t row_in_panel, float row_scale, const int8_t* scales,
               const int8_t* codes, std::byte* panel) {
  const RowPlace place(format, in, row_in_panel);
  std::memcpy(panel + place.row_scale(), &row_scale, sizeof(row_scale));
  const int bias = format == WeightFormat::q8 ? 128 : 0;
  for (int64_t g = 0; g < place.groups(); ++g) {
    panel[place.group_scale(g)] = static_cast<std::byte>(scales[g]);
    for (int64_t i = 0; i < place.group(); ++i) {
      int shift = 0;
      std::byte& target = panel[place.code(g, i, shift)];
      target |= static_cast<std::byte>((codes[g * place.group() + i] + bias) << shift);
    }
  }
}

}  // namespace

void quantize_and_pack(Context& context, FunctionRef<void(int64_t, float*)> read_row, CpuLinearWeight& weight) {
  const WeightFormat format = weight.format();
  const int64_t in = weight.in_features();
  const RowPlace place(format, in, 0);
  const int64_t padded = place.groups() * place.group();
  context.parallel_exact(weight.panels(), weight.out_features() * in * 8, [&](int64_t p, Scratch&) {
    std::byte* panel = weight.data() + static_cast<size_t>(p) * weight.panel_bytes();
    std::memset(panel, 0, weight.panel_bytes());
    std::vector<float> values(static_cast<size_t>(in));
    std::vector<int8_t> scales(static_cast<size_t>(place.groups()));
    std::vector<int8_t> codes(static_cast<size_t>(padded));
    const int64_t rows = std::min(kPanel, weight.out_features() - p * kPanel);
    for (int64_t r = 0; r < rows; ++r) {
      read_row(p * kPanel + r, values.data());
      float row_scale = 0;
      quantize_row(format, values.data(), in, &row_scale, scales.data(), codes.data());
      write_row(format, in, r, row_scale, scales.data(), codes.data(), panel);
    }
  });
}

std::unique_ptr<LinearWeight> pack_quantized(Context& context, const QuantizedMatrix& matrix) {
  auto weight =
      std::make_unique<CpuLinearWeight>(matrix.rows, matrix.cols, matrix.format, CpuLinearWeight::Layout::panels);
  context.parallel_exact(weight->panels(), matrix.rows * matrix.cols, [&](int64_t p, Scratch&) {
    std::byte* panel = weight->data() + static_cast<size_t>(p) * weight->panel_bytes();
    std::memset(panel, 0, weight->panel_bytes());
    const int64_t rows = std::min(kPanel, matrix.rows - p * kPanel);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = p * kPanel + r;
      write_row(matrix.format, matrix.cols, r, matrix.row_scales[static_cast<size_t>(row)], matrix.scales(row),
                matrix.codes(row), panel);
    }
  });
  return weight;
}

void read_quantized_row(const CpuLinearWeight& weight, int64_t row, float* values) {
  const int64_t in = weight.in_features();
  const bool q4 = weight.format() == WeightFormat::q4;
  const RowPlace place(weight.format(), in, row % kPanel);
  const std::byte* panel = weight.data() + static_cast<size_t>(row / kPanel) * weight.panel_bytes();
  float row_scale = 0;
  std::memcpy(&row_scale, panel + place.row_scale(), sizeof(row_scale));
  for (int64_t k = 0; k < in; ++k) {
    const int64_t g = k / place.group();
    int shift = 0;
    const int64_t at = place.code(g, k % place.group(), shift);
    const int code = static_cast<int>(std::to_integer<unsigned>(panel[at]) >> shift);
    const int level = q4 ? kQ4Levels[static_cast<size_t>(code & 15)] : code - 128;
    const auto group_scale = static_cast<int8_t>(panel[place.group_scale(g)]);
    // In the kernels' order: the row's scale comes last.
    values[k] = static_cast<float>(level) * static_cast<float>(group_scale) * row_scale;
  }
}

}  // namespace bamba::backend::cpu
