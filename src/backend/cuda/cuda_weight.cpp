#include "backend/cuda/cuda_weight.h"

#include <algorithm>

#include "backend/cuda/converted.h"
#include "backend/cuda/quantized_weight.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

/// Of rows, for the fast kernels.
constexpr int64_t aligned(int64_t bytes) {
  constexpr int64_t kAlignment = 16;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

std::unique_ptr<LinearWeight> upload_weight(CudaContext& context, const Tensor& weight, WeightFormat format) {
  if (format == WeightFormat::f16) {
    fail(ErrorCode::unsupported, "f16 weights run on the CPU only; on CUDA choose bf16, f32, fp8, q8 or q4 weights");
  }
  const bool wide = format == WeightFormat::f32;
  const Tensor values = converted(weight, wide ? DType::f32 : DType::bf16, context.pool);
  DeviceWeight device;
  device.kind = wide ? WeightKind::f32 : WeightKind::bf16;
  device.out = weight.dim(0);
  device.in = weight.dim(1);
  const int64_t row_bytes = device.in * (wide ? 4 : 2);
  device.pitch = aligned(row_bytes);
  Buffer memory = context.take(static_cast<size_t>(device.out * device.pitch));
  device.codes = memory.floats();
  context.uploader.copy(memory.floats(), static_cast<size_t>(device.pitch), values.raw(),
                        static_cast<size_t>(row_bytes), static_cast<size_t>(device.out), context.pool);
  return std::make_unique<CudaLinearWeight>(device, format, std::move(memory));
}

std::unique_ptr<LinearWeight> upload_fp8(CudaContext& context, const Fp8Matrix& weight) {
  check_fp8(weight, context.pool);
  if (weight.block && *weight.block != Fp8Block{kFp8Block, kFp8Block}) {
    return upload_weight(context, widen_fp8(weight), WeightFormat::bf16);
  }
  DeviceWeight device;
  device.kind = WeightKind::fp8;
  device.out = weight.codes.dim(0);
  device.in = weight.codes.dim(1);
  device.pitch = aligned(device.in);
  const auto codes_bytes = static_cast<size_t>(device.out * device.pitch);  // a multiple of 16: scales are aligned
  const size_t scales_bytes = weight.scales.size() * sizeof(float);
  Buffer memory = context.take(codes_bytes + scales_bytes);
  auto* scales = reinterpret_cast<std::byte*>(memory.floats()) + codes_bytes;
  device.codes = memory.floats();
  (weight.block ? device.block_scales : device.row_scales) = reinterpret_cast<const float*>(scales);
  context.uploader.copy(memory.floats(), static_cast<size_t>(device.pitch), weight.codes.raw(),
                        static_cast<size_t>(device.in), static_cast<size_t>(device.out), context.pool);
  context.uploader.copy(scales, scales_bytes, weight.scales.data(), scales_bytes, 1, context.pool);
  return std::make_unique<CudaLinearWeight>(device, WeightFormat::fp8, std::move(memory));
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
