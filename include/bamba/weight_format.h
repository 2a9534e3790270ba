// How linear weights are held in memory.
#pragma once

#include <optional>
#include <string_view>

namespace bamba {

/// The format the kernels read. f32, bf16 and f16 weights are multiplied in f32. q8 and q4 are integers with a scale
/// for each group of a row's weights (docs/quantization.md); the activations they meet are rounded to 8-bit integers
/// group by group, and the products of a group are summed exactly. fp8 weights are 8-bit floats (e4m3) with a scale for
/// each row: on CUDA they are held and read as that, on the CPU they are rounded to it and held as bf16.
enum class WeightFormat { f32, bf16, f16, fp8, q8, q4 };

/// "f32", "bf16", "f16", "fp8", "q8" or "q4".
std::string_view weight_format_name(WeightFormat format);
/// The inverse; empty when the name is not known.
std::optional<WeightFormat> weight_format_from_name(std::string_view name);
/// True for q8 and q4, whose weights are integers in groups.
constexpr bool is_quantized(WeightFormat format) {
  return format == WeightFormat::q8 || format == WeightFormat::q4;
}

/// Which form of the selective scan a pass uses; both compute the same function (Dao, Gu, "Transformers are SSMs",
/// 2024).
enum class ScanForm {
  recurrent,  ///< token by token, state kept in registers; prompts and decoding agree bit for bit (CPU default)
  chunked,    ///< Mamba-2's block decomposition (SSD) over chunks of mamba_chunk_size tokens
};

}  // namespace bamba
