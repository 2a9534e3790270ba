// config.json's quantization_config, as `bamba quantize` writes it: which tensors are packed, and how.
//
// Version 1. Each tensor named in "tensors" is stored as U8 [bytes]: the packed weight exactly as the kernels read it
// (docs/quantization.md), so that loading maps it. All other tensors are stored as usual.
#pragma once

#include <bamba/config.h>
#include <bamba/weight_format.h>

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/json.h"

namespace bamba {

struct QuantizationConfig {
  WeightFormat weights = WeightFormat::q8;                   ///< what was asked for; single tensors may differ
  std::map<std::string, WeightFormat, std::less<>> tensors;  ///< the packed ones: q8 or q4

  Json to_json() const;
};

/// The config's "quantization_config" when its quant_method is "bamba"; empty when there is none or it is another's.
/// Throws Error(invalid_config), naming `origin`, for another version, other levels or groups than this program's, and
/// formats that it does not know.
std::optional<QuantizationConfig> read_quantization_config(const BambaConfig& config, const std::string& origin);

}  // namespace bamba
