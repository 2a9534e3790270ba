// Linear layers on the CPU: the packed weight, and the products that read it.
#pragma once

#include <bamba/tensor.h>

#include "backend/backend.h"
#include "backend/cpu/context.h"

namespace bamba::backend::cpu {

/// Outputs of one panel: 64 is four AVX-512 registers, and 128 bytes of bf16 a step of k, two whole cache lines.
constexpr int64_t kPanel = 64;

/// Two layouts of [out, in]:
///  * panels: [ceil(out / 64)][in][64], what linear() reads: k walks forwards through memory; the last panel is
///    filled up with zeros;
///  * rows: [out][in], for an embedding that is only ever looked up.
class CpuLinearWeight final : public LinearWeight {
 public:
  enum class Layout { panels, rows };
  CpuLinearWeight(int64_t out, int64_t in, WeightFormat format, Layout layout);

  Layout layout() const { return layout_; }
  size_t element_size() const { return format() == WeightFormat::f32 ? 4 : 2; }
  int64_t panels() const { return (out_features() + kPanel - 1) / kPanel; }
  size_t bytes() const override { return bytes_; }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  /// Index of element (o, k) in elements.
  int64_t index(int64_t o, int64_t k) const {
    return layout_ == Layout::rows ? o * in_features() + k : (o / kPanel * in_features() + k) * kPanel + o % kPanel;
  }

 private:
  Layout layout_;
  size_t bytes_;
  std::unique_ptr<std::byte, FreeMemory> data_;
};

std::unique_ptr<LinearWeight> pack_linear(Context& context, const Tensor& weight, WeightFormat format,
                                          CpuLinearWeight::Layout layout);
void unpack_linear(Context& context, const CpuLinearWeight& weight, int64_t first_row, int64_t rows, float* host);
void embed(Context& context, std::span<const int32_t> ids, const CpuLinearWeight& table, Matrix out);
void linear(Context& context, Matrix in, const CpuLinearWeight& weight, const float* bias, bool accumulate, Matrix out);

}  // namespace bamba::backend::cpu
