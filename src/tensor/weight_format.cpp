#include <bamba/weight_format.h>

namespace bamba {

std::string_view weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return "f32";
    case WeightFormat::bf16:
      return "bf16";
    case WeightFormat::f16:
      return "f16";
    case WeightFormat::fp8:
      return "fp8";
    case WeightFormat::q8:
      return "q8";
    case WeightFormat::q4:
      return "q4";
  }
  return "unknown";
}

std::optional<WeightFormat> weight_format_from_name(std::string_view name) {
  for (const auto format : {WeightFormat::f32, WeightFormat::bf16, WeightFormat::f16, WeightFormat::fp8,
                            WeightFormat::q8, WeightFormat::q4}) {
    if (weight_format_name(format) == name) return format;
  }
  return std::nullopt;
}

}  // namespace bamba
