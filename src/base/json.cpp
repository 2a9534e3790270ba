#include "base/json.h"

#include <cmath>
#include <limits>
#include <unordered_set>
#include <vector>

#include "base/file.h"
#include "base/str.h"

namespace bamba {
namespace {

/// Replaces bare NaN / Infinity / -Infinity outside strings. Returns the text unchanged when there is none.
std::string spell_out_non_finite(std::string_view text) {
  std::string out;
  bool in_string = false;
  size_t copied = 0;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (in_string) {
      i += c == '\\' ? 2 : 1;
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    std::string_view found;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (text.substr(i).starts_with(word)) {
        found = word;
        break;
      }
    }
    if (found.empty()) {
      ++i;
      continue;
    }
    out.append(text.substr(copied, i - copied));
    out.append(R"({"__float__":")").append(found).append("\"}");
    i += found.size();
    copied = i;
  }
  if (copied == 0) return std::string(text);
  out.append(text.substr(copied));
  return out;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& origin, ErrorCode code, JsonLimits limits) {
  // One set of seen keys an open object; arrays push an empty one, which costs nothing.
  std::vector<std::unordered_set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= limits.max_depth) fail(code, origin, ": JSON is nested deeper than ", limits.max_depth, " levels");
      keys.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      keys.pop_back();
    } else if (event == Event::key) {
      const auto& name = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(name).second) fail(code, origin, ": the key \"", name, "\" appears twice in one object");
    }
    return true;
  };
  try {
    const std::string finite = spell_out_non_finite(text);
    return Json::parse(finite, check);
  } catch (const nlohmann::json::exception& error) {
    fail(code, origin, ": not valid JSON: ", error.what());
  }
}

Json parse_json_file(const std::filesystem::path& path, ErrorCode code, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path.string(), code);
}

bool is_json_number(const Json& value) {
  if (value.is_number()) return true;
  if (!value.is_object() || value.size() != 1 || !value.contains("__float__")) return false;
  const auto& word = value.at("__float__");
  return word.is_string() && (word == "Infinity" || word == "-Infinity" || word == "NaN");
}

double json_number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const auto word = value.at("__float__").get<std::string>();
  if (word == "Infinity") return std::numeric_limits<double>::infinity();
  if (word == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

Json json_from_number(double value) {
  if (std::isfinite(value)) return value;
  const char* word = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  return Json{{"__float__", word}};
}

}  // namespace bamba
