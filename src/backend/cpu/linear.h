// Linear layers on the CPU: the packed weight, and the products that read it.
#pragma once

#include <bamba/tensor.h>

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

/// Outputs of one panel: 64 is four AVX-512 registers, and 128 bytes of bf16 a step of k, two whole cache lines.
constexpr int64_t kPanel = 64;

/// Layouts of [out, in]:
///  * panels: what linear() reads, [ceil(out / 64)][in][64]: k walks forwards through memory; the last panel is filled
///    up with zeros. q8 and q4 have panels of 64 outputs too, as quantized.h tells;
///  * rows: [out][in], for an embedding of f32 or 16 bits that is only ever looked up.
class CpuLinearWeight final : public LinearWeight {
 public:
  enum class Layout { panels, rows };
  CpuLinearWeight(int64_t out, int64_t in, WeightFormat format, Layout layout);
  /// q8 or q4 in memory that something else owns and nobody writes.
  CpuLinearWeight(int64_t out, int64_t in, WeightFormat format, std::shared_ptr<const std::byte> memory);

  Layout layout() const { return layout_; }
  size_t element_size() const { return format() == WeightFormat::f32 ? 4 : 2; }
  int64_t panels() const { return (out_features() + kPanel - 1) / kPanel; }
  size_t bytes() const override { return bytes_; }
  std::span<const std::byte> packed() const override {
    return is_quantized(format()) ? std::span(data(), bytes_) : std::span<const std::byte>();
  }
  std::byte* data() { return owned_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t panel_bytes() const { return bytes_ / static_cast<size_t>(panels()); }
  /// Index of element (o, k) in elements; not for q8 and q4.
  int64_t index(int64_t o, int64_t k) const {
    return layout_ == Layout::rows ? o * in_features() + k : (o / kPanel * in_features() + k) * kPanel + o % kPanel;
  }

 private:
  Layout layout_;
  size_t bytes_;
  std::shared_ptr<std::byte> owned_;  // empty where the memory is another's
  std::shared_ptr<const std::byte> data_;
};

inline const CpuLinearWeight& cpu_weight(const LinearWeight& weight) {
  return static_cast<const CpuLinearWeight&>(weight);
}

std::unique_ptr<LinearWeight> pack_linear(Context& context, const Tensor& weight, WeightFormat format,
                                          CpuLinearWeight::Layout layout);
std::unique_ptr<LinearWeight> pack_quantized(Context& context, const QuantizedMatrix& weight);
void unpack_linear(Context& context, const CpuLinearWeight& weight, int64_t first_row, int64_t rows, float* host);
void embed(Context& context, std::span<const int32_t> ids, const CpuLinearWeight& table, Matrix out);
void linear(Context& context, Matrix in, std::span<const LinearOp> ops);

}  // namespace bamba::backend::cpu
