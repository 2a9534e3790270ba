// How the keys and values of attention layers are held in memory.
#pragma once

#include <bamba/weight_format.h>

#include <optional>
#include <string_view>

namespace bamba {

/// bf16 takes half the memory and half the time to read of f32: keys (after the rotary embedding) and values are
/// rounded to nearest even once, when they are stored. Arithmetic is f32 with both.
enum class KvFormat { f32, bf16 };

/// "f32" or "bf16".
std::string_view kv_format_name(KvFormat format);
/// The inverse; empty when the name is not known.
std::optional<KvFormat> kv_format_from_name(std::string_view name);

/// What a model with such weights uses unless told otherwise: a format that loses no more than the weights did.
KvFormat default_kv_format(WeightFormat weights);

}  // namespace bamba
