// Whether a model fits into a device's memory, said before it is loaded.
#pragma once

#include <bamba/config.h>
#include <bamba/weight_format.h>

#include <string>

#include "backend/backend.h"

namespace bamba {

/// What the weights in `format` and the state of one sequence, before any keys and values, take at least.
size_t least_device_bytes(const BambaConfig& config, WeightFormat format, const backend::Backend& device);

/// What is needed, what there is, and the formats that take less: to follow a colon or a full stop.
std::string device_room_text(const BambaConfig& config, WeightFormat format, const backend::Backend& device,
                             size_t capacity);

/// Throws Error(out_of_memory) when least_device_bytes() is more than is left of the device's memory. Devices that use
/// the host's memory have room for anything.
void check_device_room(const BambaConfig& config, WeightFormat format, const backend::Backend& device,
                       const backend::DeviceMemory& memory);

}  // namespace bamba
