// The file names of a checkpoint folder's weights, as Transformers has them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bamba {

inline constexpr std::string_view kSingleFile = "model.safetensors";
inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

/// "model-00001-of-00004.safetensors" for number 1 of 4.
std::string shard_name(size_t number, size_t count);
/// Whether shard_name() may have made the name.
bool is_shard_name(std::string_view name);

}  // namespace bamba
