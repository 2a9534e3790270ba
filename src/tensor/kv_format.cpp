#include <bamba/kv_format.h>

namespace bamba {

std::string_view kv_format_name(KvFormat format) {
  switch (format) {
    case KvFormat::f32:
      return "f32";
    case KvFormat::bf16:
      return "bf16";
  }
  return "unknown";
}

std::optional<KvFormat> kv_format_from_name(std::string_view name) {
  for (const auto format : {KvFormat::f32, KvFormat::bf16}) {
    if (kv_format_name(format) == name) return format;
  }
  return std::nullopt;
}

KvFormat default_kv_format(WeightFormat weights) {
  switch (weights) {
    case WeightFormat::f32:
    case WeightFormat::bf16:
    case WeightFormat::f16:
      return KvFormat::f32;
    case WeightFormat::fp8:
    case WeightFormat::q8:
    case WeightFormat::q4:
      return KvFormat::bf16;
  }
  return KvFormat::f32;
}

}  // namespace bamba
