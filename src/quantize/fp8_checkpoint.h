// From a checkpoint of floats to one of fp8 weights, in the layout of the published ones.
#pragma once

#include <bamba/quantize.h>

#include <filesystem>

namespace bamba {

/// What quantize_checkpoint does for WeightFormat::fp8. Matrices that tensor_format() makes fp8 are stored as F8_E4M3
/// with a weight_scale F32 [rows, 1] beside each, and config.json says so in the words of compressed-tensors;
/// everything else stays as it is stored.
void write_fp8_checkpoint(const std::filesystem::path& source, const std::filesystem::path& target,
                          const QuantizeOptions& options);

}  // namespace bamba
