#include "model/quantization_config.h"

#include <cstdint>

#include "base/str.h"
#include "tensor/quantized_matrix.h"

namespace bamba {
namespace {

constexpr const char* kKey = "quantization_config";
constexpr const char* kMethod = "bamba";
constexpr int64_t kVersion = 1;

Json groups_json() {
  return {{"q8", group_size(WeightFormat::q8)}, {"q4", group_size(WeightFormat::q4)}};
}

class Reader {
 public:
  Reader(const Json& json, const std::string& origin) : json_(json), origin_(origin) {}

  QuantizationConfig read() const {
    const Json& version = at("version");
    if (!version.is_number_integer() || version != kVersion) {
      reject("version is ", shown(version), "; this program reads version ", kVersion);
    }
    QuantizationConfig out;
    out.weights = format("weights", at("weights"));
    // Other levels under the same codes would be another model without a word.
    require("group_size", groups_json());
    require("q4_levels", Json(kQ4Levels));
    const Json& tensors = at("tensors");
    if (!tensors.is_object()) reject("tensors is ", shown(tensors), "; it must be an object from names to formats");
    for (const auto& [name, value] : tensors.items()) out.tensors.emplace(name, format(quote(name), value));
    return out;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ErrorCode::invalid_config, origin_, ": ", kKey, ": ", parts...);
  }
  static std::string shown(const Json& value) { return printable(value.dump(), 80); }

  const Json& at(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) reject(key, " is missing");
    return *found;
  }
  void require(const char* key, const Json& expected) const {
    if (at(key) != expected) {
      reject(key, " is ", shown(at(key)), "; this program's kernels read ", expected.dump());
    }
  }
  WeightFormat format(const std::string& key, const Json& value) const {
    const auto format = value.is_string() ? weight_format_from_name(value.get_ref<const std::string&>()) : std::nullopt;
    if (!format || !is_quantized(*format)) reject(key, " is ", shown(value), "; it must be \"q8\" or \"q4\"");
    return *format;
  }

  const Json& json_;
  const std::string& origin_;
};

}  // namespace

Json QuantizationConfig::to_json() const {
  Json formats = Json::object();
  for (const auto& [name, format] : tensors) append_key(formats, name, std::string(weight_format_name(format)));
  return {{"quant_method", kMethod},     {"version", kVersion},    {"weights", weight_format_name(weights)},
          {"group_size", groups_json()}, {"q4_levels", kQ4Levels}, {"tensors", std::move(formats)}};
}

std::optional<QuantizationConfig> read_quantization_config(const BambaConfig& config, const std::string& origin) {
  const std::optional<std::string> text = config.extra_key(kKey);
  if (!text) return {};
  const Json json = parse_json(*text, origin, ErrorCode::invalid_config);
  if (!json.is_object()) return {};
  const auto method = json.find("quant_method");
  if (method == json.end() || *method != kMethod) return {};
  return Reader(json, origin).read();
}

}  // namespace bamba
