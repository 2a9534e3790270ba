// What the activations that a linear layer multiplies are rounded to.
#pragma once

#include <optional>
#include <string_view>

namespace bamba {

/// With bf16, what enters a product with bf16 weights is rounded to bf16 (to nearest even), as Transformers does when a
/// model runs in torch.bfloat16; sums stay f32, and so does everything between the products. Processors with AMX
/// multiply prompts several times faster that way, those with AVX512-BF16 somewhat; on others nothing is gained.
/// Products with weights of other formats are as with f32 (q8 and q4 round activations to 8 bits with both).
enum class ActivationFormat { f32, bf16 };

/// "f32" or "bf16".
std::string_view activation_format_name(ActivationFormat format);
/// The inverse; empty when the name is not known.
std::optional<ActivationFormat> activation_format_from_name(std::string_view name);

}  // namespace bamba
