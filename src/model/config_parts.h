// What reading, checking and writing a BambaConfig share.
#pragma once

#include <bamba/config.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace bamba {

/// No dimension of a tensor may be larger, so that a product of two never leaves int64.
inline constexpr int64_t kMaxDimension = int64_t{1} << 31;
/// Lists of one entry a layer are made from this number alone, so it is bounded more tightly.
inline constexpr int64_t kMaxLayers = 1 << 16;

inline constexpr std::array<std::string_view, 6> kActivations = {
    "silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"};
inline constexpr std::array<std::string_view, 4> kRopeTypes = {"default", "linear", "llama3", "yarn"};

/// validate() with the name of the file that the values came from.
void check_config(const BambaConfig& config, const std::string& origin);

}  // namespace bamba
