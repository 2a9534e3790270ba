// Writing a quantized checkpoint over whatever is in its folder.
#pragma once

#include <bamba/config.h>

#include <filesystem>
#include <functional>
#include <vector>

#include "io/checkpoint.h"

namespace bamba {

/// Writes the tensors that `fill` gives, the source's companions (tokenizer, generation config) and config.json. That
/// makes the folder a model: an older one goes before the weights it describes do, the new one comes last.
void replace_checkpoint(const std::filesystem::path& source, const std::filesystem::path& target,
                        const std::vector<SafetensorsWriter::Declaration>& tensors, uint64_t max_shard_bytes,
                        const std::function<void(const SafetensorsWriter::Declaration&, SafetensorsWriter&)>& fill,
                        const BambaConfig& config);

}  // namespace bamba
