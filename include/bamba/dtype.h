// Element types of tensors, with the names that safetensors and Transformers use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bamba {

/// The types a safetensors file may hold. Compute happens in f32; the rest are storage types.
enum class DType : uint8_t { boolean, u8, i8, f8_e5m2, f8_e4m3, i16, u16, f16, bf16, i32, u32, f32, i64, u64, f64 };

/// Bytes of one element.
size_t dtype_size(DType dtype);
/// The name in a safetensors header: "BF16", "F32", "I64", "F8_E4M3", ...
std::string_view dtype_safetensors_name(DType dtype);
/// The name in config.json's dtype / torch_dtype: "bfloat16", "float32", ...
std::string_view dtype_torch_name(DType dtype);
/// Inverse of the two above; empty when the name is not known.
std::optional<DType> dtype_from_safetensors_name(std::string_view name);
std::optional<DType> dtype_from_torch_name(std::string_view name);

/// Storage-only 16-bit floats: bit patterns, converted explicitly.
struct bf16_t {
  uint16_t bits;
};
struct f16_t {
  uint16_t bits;
};

/// Exact.
float to_float(bf16_t value);
float to_float(f16_t value);
/// Round to nearest, ties to even; NaN stays NaN.
bf16_t to_bf16(float value);
/// Round to nearest, ties to even; overflow becomes infinity; subnormals are kept.
f16_t to_f16(float value);

}  // namespace bamba
