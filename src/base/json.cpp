#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
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

/// Passes the parser's events on, counts nesting, and turns its complaint into an Error.
class Scanner final : public nlohmann::json_sax<Json> {
 public:
  Scanner(const std::string& origin, ErrorCode code, JsonHandler& handler, JsonLimits limits)
      : origin_(origin), code_(code), handler_(handler), limits_(limits) {}

  bool null() override { return pass(nullptr); }
  bool boolean(bool value) override { return pass(value); }
  bool number_integer(number_integer_t value) override { return pass(value); }
  bool number_unsigned(number_unsigned_t value) override { return pass(value); }
  bool number_float(number_float_t value, const string_t& /*text*/) override { return pass(value); }
  bool string(string_t& value) override { return pass(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return false; }  // not a thing of JSON text

  bool start_object(size_t /*elements*/) override {
    enter();
    handler_.begin_object();
    return true;
  }
  bool key(string_t& name) override {
    handler_.key(name);
    return true;
  }
  bool end_object() override {
    --depth_;
    handler_.end_object();
    return true;
  }
  bool start_array(size_t /*elements*/) override {
    enter();
    handler_.begin_array();
    return true;
  }
  bool end_array() override {
    --depth_;
    handler_.end_array();
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/, const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ...": the reason is ours
    // to show, shortened, as it quotes the text.
    std::string_view reason = error.what();
    if (const size_t end = reason.find("] "); end != reason.npos) reason.remove_prefix(end + 2);
    fail(code_, origin_, ": not valid JSON at byte ", position, ": ", printable(reason, 200));
  }

 private:
  template <typename Value>
  bool pass(Value&& value) {
    handler_.value(Json(std::forward<Value>(value)));
    return true;
  }
  void enter() {
    if (++depth_ > limits_.max_depth) {
      fail(code_, origin_, ": JSON is nested deeper than ", limits_.max_depth, " levels");
    }
  }

  const std::string& origin_;
  ErrorCode code_;
  JsonHandler& handler_;
  JsonLimits limits_;
  int depth_ = 0;
};

/// Builds the document. Keys are appended without a look-up and checked for repeats when their object is complete.
class Builder final : public JsonHandler {
 public:
  Builder(const std::string& origin, ErrorCode code) : origin_(origin), code_(code) {}

  void begin_object() override { open_.push_back(&add(Json::object())); }
  void key(std::string& name) override { key_ = std::move(name); }
  void end_object() override {
    refuse_repeated_keys(*open_.back());
    open_.pop_back();
  }
  void begin_array() override { open_.push_back(&add(Json::array())); }
  void end_array() override { open_.pop_back(); }
  void value(Json&& scalar) override { add(std::move(scalar)); }

  Json take() { return std::move(root_); }

 private:
  Json& add(Json&& value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_array()) return parent.emplace_back(std::move(value));
    append_key(parent, std::move(key_), std::move(value));
    return parent.get_ref<Json::object_t&>().back().second;
  }

  // Sorting keeps this n log n whatever the keys are; a hash table would be at the mercy of chosen ones.
  void refuse_repeated_keys(const Json& object) {
    const auto& members = object.get_ref<const Json::object_t&>();
    sorted_.clear();
    for (const auto& member : members) sorted_.push_back(member.first);
    std::sort(sorted_.begin(), sorted_.end());
    const auto repeated = std::adjacent_find(sorted_.begin(), sorted_.end());
    if (repeated != sorted_.end()) {
      fail(code_, origin_, ": the key ", quote(*repeated), " appears twice in one object");
    }
  }

  const std::string& origin_;
  ErrorCode code_;
  Json root_;
  std::vector<Json*> open_;  // a parent does not grow while a child is open, so these stay valid
  std::string key_;
  std::vector<std::string_view> sorted_;
};

}  // namespace

void scan_json(std::string_view text, const std::string& origin, ErrorCode code, JsonHandler& handler,
               JsonLimits limits) {
  // The parser takes a NUL byte for the end of the text and would accept whatever comes after it.
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    fail(code, origin, ": not valid JSON at byte ", nul, ": a NUL byte");
  }
  Scanner scanner(origin, code, handler, limits);
  Json::sax_parse(text, &scanner);
}

Json parse_json(std::string_view text, const std::string& origin, ErrorCode code, JsonLimits limits) {
  Builder builder(origin, code);
  scan_json(spell_out_non_finite(text), origin, code, builder, limits);
  return builder.take();
}

void append_key(Json& object, std::string key, Json value) {
  // The container under the object is a vector of pairs, whose own emplace_back looks for nothing.
  object.get_ref<Json::object_t&>().emplace_back(std::move(key), std::move(value));
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
