// How linear weights are held in memory.
#pragma once

#include <optional>
#include <string_view>

namespace bamba {

/// The format the kernels read. Arithmetic is f32 in all of them.
enum class WeightFormat { f32, bf16, f16 };

/// "f32", "bf16" or "f16".
std::string_view weight_format_name(WeightFormat format);
/// The inverse; empty when the name is not known.
std::optional<WeightFormat> weight_format_from_name(std::string_view name);

/// Which form of the selective scan a pass uses; both compute the same function (Dao, Gu, "Transformers are SSMs",
/// 2024).
enum class ScanForm {
  recurrent,  ///< token by token, state kept in registers; prompts and decoding agree bit for bit (CPU default)
  chunked,    ///< Mamba-2's block decomposition (SSD) over chunks of mamba_chunk_size tokens
};

}  // namespace bamba
