#include "backend/cuda/cuda_weight.h"

#include <algorithm>

#include "backend/cuda/converted.h"
#include "backend/cuda/quantized_weight.h"
#include "base/str.h"

namespace bamba::backend::cuda {

std::unique_ptr<LinearWeight> upload_weight(CudaContext& context, const Tensor& weight, WeightFormat format) {
  if (format == WeightFormat::f16) {
    fail(ErrorCode::unsupported, "f16 weights run on the CPU only; on CUDA choose bf16, f32, q8 or q4 weights");
  }
  const bool wide = format == WeightFormat::f32;
  const Tensor values = converted(weight, wide ? DType::f32 : DType::bf16, context.pool);
  DeviceWeight device;
  device.kind = wide ? WeightKind::f32 : WeightKind::bf16;
  device.out = weight.dim(0);
  device.in = weight.dim(1);
  const int64_t row_bytes = device.in * (wide ? 4 : 2);
  constexpr int64_t kAlignment = 16;  // of rows, for the fast kernels
  device.pitch = (row_bytes + kAlignment - 1) / kAlignment * kAlignment;
  Buffer memory = context.take(static_cast<size_t>(device.out * device.pitch));
  device.codes = memory.floats();
  context.uploader.copy(memory.floats(), static_cast<size_t>(device.pitch), values.raw(),
                        static_cast<size_t>(row_bytes), static_cast<size_t>(device.out), context.pool);
  return std::make_unique<CudaLinearWeight>(device, format, std::move(memory));
}

std::unique_ptr<LinearWeight> upload_panels(CudaContext& context, WeightFormat format, int64_t out, int64_t in,
                                            std::span<const std::byte> panels) {
  const QuantizedLayout layout(format, out, in);
  std::vector<std::byte> packed(layout.bytes);
  constexpr int64_t kPanelOutputs = 64;
  constexpr int64_t kPanels = 4;  // of a task
  const int64_t count = (out + kPanelOutputs - 1) / kPanelOutputs;
  context.pool.parallel_for((count + kPanels - 1) / kPanels, [&](int64_t task, int) {
    const int64_t first = task * kPanels;
    pack_quantized_panels(format, out, in, panels, first, std::min(kPanels, count - first), packed.data());
  });
  Buffer memory = context.take(layout.bytes);
  context.uploader.copy(memory.floats(), layout.bytes, packed.data(), layout.bytes, 1, context.pool);
  return std::make_unique<CudaLinearWeight>(quantized_device_weight(format, out, in, memory.floats()), format,
                                            std::move(memory));
}

}  // namespace bamba::backend::cuda
