// config.json's quantization_config, as the makers of fp8 checkpoints write it: how the scales of fp8 weights lie.
#pragma once

#include <bamba/config.h>

#include <optional>
#include <string>

#include "tensor/fp8_matrix.h"

namespace bamba {

struct Fp8Config {
  std::optional<Fp8Block> block;  ///< the size of the blocks, where there are scales for blocks
  bool by_row = true;             ///< whether there may be scales for rows or whole matrices
};

/// Reads "weight_block_size": [rows, cols] (Transformers' fp8) and config_groups with the strategy "block" and its
/// block_structure (compressed-tensors). All else in the key says nothing of scales and is left unread. Throws
/// Error(invalid_config), naming `origin`, for sizes that are not positive and for more than one size.
Fp8Config read_fp8_config(const BambaConfig& config, const std::string& origin);

}  // namespace bamba
