#include "model/device_room.h"

#include <cmath>

#include "base/str.h"
#include "model/format_table.h"
#include "model/tensor_specs.h"

namespace bamba {
namespace {

double gigabytes(size_t bytes) {
  return std::floor(static_cast<double>(bytes) / 1e7) / 100;
}

size_t least_matrix_bytes(const TensorSpec& spec, WeightFormat format, const backend::Backend& device) {
  const auto count = static_cast<size_t>(shape_numel(spec.shape));
  if (format == WeightFormat::f32) return 4 * count;
  if (format == WeightFormat::bf16 || format == WeightFormat::f16) return 2 * count;
  if (is_quantized(format)) return device.quantized_bytes(spec.shape[0], spec.shape[1], format);
  return count;  // formats of 8 bits
}

}  // namespace

size_t least_device_bytes(const BambaConfig& config, WeightFormat format, const backend::Backend& device) {
  size_t bytes = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    bytes += spec.is_matrix() ? least_matrix_bytes(spec, tensor_format(spec, format), device)
                              : static_cast<size_t>(shape_numel(spec.shape)) * sizeof(float);
  }
  const int64_t state = config.conv_dim() * config.mamba_d_conv + config.mamba_d_inner() * config.mamba_d_state;
  const int64_t layers = config.num_hidden_layers - config.num_attention_layers();
  return bytes + static_cast<size_t>(layers * state) * sizeof(float);
}

std::string device_room_text(const BambaConfig& config, WeightFormat format, const backend::Backend& device,
                             size_t capacity) {
  const size_t needed = least_device_bytes(config, format, device);
  std::string text =
      str("weights as ", weight_format_name(format), " and the state of one sequence need ", gigabytes(needed),
          " GB of the device, of which ", gigabytes(capacity), " GB may be used (--gpu-memory)");
  const char* separator = "; ";
  for (const WeightFormat other : {WeightFormat::bf16, WeightFormat::fp8, WeightFormat::q8, WeightFormat::q4}) {
    const size_t less = least_device_bytes(config, other, device);
    if (less >= needed) continue;
    text += str(separator, "--weights ", weight_format_name(other), " needs ", gigabytes(less), " GB");
    separator = ", ";
  }
  return text;
}

void check_device_room(const BambaConfig& config, WeightFormat format, const backend::Backend& device,
                       const backend::DeviceMemory& memory) {
  if (memory.capacity == 0 || least_device_bytes(config, format, device) <= memory.capacity - memory.used) return;
  fail(ErrorCode::out_of_memory, "the model does not fit: ", device_room_text(config, format, device, memory.capacity));
}

}  // namespace bamba
