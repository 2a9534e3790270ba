// JSON as this project reads and writes it: nlohmann::json behind limits that hostile files cannot pass.
#pragma once

#include <bamba/error.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace bamba {

/// Keeps the order of keys. Looking a key up, operator[] included, walks the object from its start: fine for the few
/// dozen keys of a config, quadratic for a big object that is filled key by key (use append_key for that).
using Json = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 64;  ///< nesting of arrays and objects
};

/// Parses UTF-8 JSON in time linear in the text's length. Python's bare NaN, Infinity and -Infinity are read as
/// {"__float__": "..."}, the form that Transformers 5 writes. Throws Error(code) that names `origin` and the place:
/// bad syntax, invalid UTF-8, a key twice in one object, or nesting past the limit.
Json parse_json(std::string_view text, const std::string& origin, ErrorCode code, JsonLimits limits = {});

/// read_file (at most max_bytes) + parse_json.
Json parse_json_file(const std::filesystem::path& path, ErrorCode code, uint64_t max_bytes = uint64_t{64} << 20);

/// Takes a document event by event, in the text's order. A value is a null, boolean, number or string.
class JsonHandler {
 public:
  JsonHandler() = default;
  virtual ~JsonHandler() = default;
  JsonHandler(const JsonHandler&) = delete;
  JsonHandler& operator=(const JsonHandler&) = delete;

  virtual void begin_object() = 0;
  virtual void key(std::string& name) = 0;  ///< may be moved from
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
  virtual void value(Json&& scalar) = 0;
};

/// Strict JSON (no bare NaN or Infinity), without building a document: for big files, whose document would take many
/// times the memory of their text. Duplicate keys are the handler's to find. Throws Error(code) as parse_json does.
void scan_json(std::string_view text, const std::string& origin, ErrorCode code, JsonHandler& handler,
               JsonLimits limits = {});

/// Adds a key that the object is known not to have, without looking for it.
void append_key(Json& object, std::string key, Json value);

/// Whether the value is a number or {"__float__": "Infinity"} (or -Infinity, NaN), and which one it is; json_number
/// throws nlohmann's type_error for anything else.
bool is_json_number(const Json& value);
double json_number(const Json& value);
/// The inverse: finite numbers plain, the rest as {"__float__": ...}.
Json json_from_number(double value);

}  // namespace bamba
