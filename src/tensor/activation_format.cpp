#include <bamba/activation_format.h>

namespace bamba {

std::string_view activation_format_name(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::f32:
      return "f32";
    case ActivationFormat::bf16:
      return "bf16";
  }
  return "unknown";
}

std::optional<ActivationFormat> activation_format_from_name(std::string_view name) {
  for (const auto format : {ActivationFormat::f32, ActivationFormat::bf16}) {
    if (activation_format_name(format) == name) return format;
  }
  return std::nullopt;
}

}  // namespace bamba
