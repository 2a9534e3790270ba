// Linear weights on the GPU.
#pragma once

#include "backend/backend.h"
#include "backend/cuda/cuda_context.h"
#include "backend/cuda/skinny_weight.h"

namespace bamba::backend::cuda {

class CudaLinearWeight final : public LinearWeight {
 public:
  CudaLinearWeight(const DeviceWeight& weight, WeightFormat format, Buffer memory)
      : LinearWeight(weight.out, weight.in, format), weight_(weight), memory_(std::move(memory)) {}
  size_t bytes() const override { return memory_.bytes(); }
  const DeviceWeight& device() const { return weight_; }

 private:
  DeviceWeight weight_;
  Buffer memory_;
};

inline const DeviceWeight& device_weight(const LinearWeight& weight) {
  return static_cast<const CudaLinearWeight&>(weight).device();
}

/// f32 or bf16, rounded to nearest even where the tensor has more. Throws Error(unsupported) for f16.
std::unique_ptr<LinearWeight> upload_weight(CudaContext& context, const Tensor& weight, WeightFormat format);
/// The codes and scales as they are, but blocks of another size than the kernels' are widened and rounded to bf16.
/// Throws Error(non_finite) when a code is NaN, which the kernels would read as 480.
std::unique_ptr<LinearWeight> upload_fp8(CudaContext& context, const Fp8Matrix& weight);
/// q8 or q4 from the panels that the CPU backend packs.
std::unique_ptr<LinearWeight> upload_panels(CudaContext& context, WeightFormat format, int64_t out, int64_t in,
                                            std::span<const std::byte> panels);

}  // namespace bamba::backend::cuda
