// What reading and writing safetensors share.
#pragma once

#include <bamba/dtype.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace bamba {

inline constexpr size_t kLengthBytes = 8;  ///< the header's length, little-endian, at the start of the file
/// The format's own bound.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr std::string_view kMetadataKey = "__metadata__";

inline constexpr std::array kAllDTypes = {DType::boolean, DType::u8,  DType::i8,  DType::f8_e5m2, DType::f8_e4m3,
                                          DType::i16,     DType::u16, DType::f16, DType::bf16,    DType::i32,
                                          DType::u32,     DType::f32, DType::i64, DType::u64,     DType::f64};

/// Bytes of a tensor; empty when they do not fit in 63 bits (a size of 0 must not hide an overflow before it).
inline std::optional<uint64_t> tensor_bytes(DType dtype, std::span<const int64_t> shape) {
  auto bytes = static_cast<int64_t>(dtype_size(dtype));
  for (const int64_t dimension : shape) {
    if (__builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
  }
  return static_cast<uint64_t>(bytes);
}

}  // namespace bamba
