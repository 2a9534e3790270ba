// JSON as this project reads and writes it: nlohmann::json behind limits that hostile files cannot pass.
#pragma once

#include <bamba/error.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace bamba {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 64;  ///< nesting of arrays and objects
};

/// Parses UTF-8 JSON. Python's bare NaN, Infinity and -Infinity are read as {"__float__": "..."}, the form that
/// Transformers 5 writes. Throws Error(code) that names `origin` and the byte: bad syntax, invalid UTF-8, a key twice
/// in one object, or nesting past the limit.
Json parse_json(std::string_view text, const std::string& origin, ErrorCode code, JsonLimits limits = {});

/// read_file (at most max_bytes) + parse_json.
Json parse_json_file(const std::filesystem::path& path, ErrorCode code, uint64_t max_bytes = uint64_t{64} << 20);

/// {"__float__": "Infinity"} and friends, or a plain number, as a double; throws nlohmann's type_error otherwise.
bool is_json_number(const Json& value);
double json_number(const Json& value);
/// The inverse: finite numbers plain, the rest as {"__float__": ...}.
Json json_from_number(double value);

}  // namespace bamba
