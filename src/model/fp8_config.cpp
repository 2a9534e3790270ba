#include "model/fp8_config.h"

#include <charconv>
#include <cstdint>
#include <limits>
#include <string_view>

#include "base/json.h"
#include "base/str.h"

namespace bamba {
namespace {

constexpr const char* kConfigKey = "quantization_config";

/// "128x128", as older files spell [128, 128]; null where it is something else.
Json sizes_of_text(std::string_view text) {
  Json sizes = Json::array();
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    int64_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    if (error != std::errc()) return nullptr;
    sizes.push_back(size);
    if (next == end) return sizes;
    if (*next != 'x') return nullptr;
    at = next + 1;
  }
}

class Fp8Reader {
 public:
  Fp8Reader(const Json& json, const std::string& origin) : json_(json), origin_(origin) {}

  Fp8Config read() {
    if (const Json* size = find(json_, "weight_block_size")) {
      add("weight_block_size", *size);
      out_.by_row = false;
    }
    if (const Json* groups = find(json_, "config_groups")) read_groups(*groups);
    return out_;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void reject(const Parts&... parts) const {
    fail(ErrorCode::invalid_config, origin_, ": ", kConfigKey, ": ", parts...);
  }
  static std::string shown(const Json& value) { return printable(value.dump(), 80); }
  /// Null when there is none, or JSON's null.
  static const Json* find(const Json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }

  void read_groups(const Json& groups) {
    bool others = false;
    if (!groups.is_object()) reject("config_groups is ", shown(groups), "; it must be an object");
    for (const auto& [name, group] : groups.items()) {
      const Json* weights = find(group, "weights");
      if (weights == nullptr) continue;
      const Json* strategy = find(*weights, "strategy");
      if (strategy == nullptr || *strategy != "block") {
        others = true;
        continue;
      }
      const Json* size = find(*weights, "block_structure");
      if (size == nullptr) {
        reject("config_groups' ", printable(name, 80), " has the strategy \"block\" and no block_structure");
      }
      add("block_structure", *size);
    }
    out_.by_row = others || !out_.block;
  }

  void add(const char* key, const Json& value) {
    const Json sizes = value.is_string() ? sizes_of_text(value.get_ref<const std::string&>()) : value;
    if (!sizes.is_array() || sizes.size() != 2 || !is_size(sizes[0]) || !is_size(sizes[1])) {
      reject(key, " is ", shown(value), "; it must be two positive integers, the rows and the columns of a block");
    }
    const Fp8Block block{sizes[0].get<int64_t>(), sizes[1].get<int64_t>()};
    if (out_.block && *out_.block != block) {
      reject(key, " is ", shown(value), " beside blocks of ", out_.block->rows, " x ", out_.block->cols,
             "; all blocks must be of one size");
    }
    out_.block = block;
  }
  static bool is_size(const Json& value) {
    if (value.is_number_unsigned()) {
      const auto size = value.get<uint64_t>();
      return size > 0 && size <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
    return value.is_number_integer() && value.get<int64_t>() > 0;
  }

  const Json& json_;
  const std::string& origin_;
  Fp8Config out_;
};

}  // namespace

Fp8Config read_fp8_config(const BambaConfig& config, const std::string& origin) {
  const std::optional<std::string> text = config.extra_key(kConfigKey);
  if (!text) return {};
  const Json json = parse_json(*text, origin, ErrorCode::invalid_config);
  return Fp8Reader(json, origin).read();
}

}  // namespace bamba
