#include "constraint/schema_source.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "constraint/schema_keywords.h"

namespace bamba {
namespace {

constexpr size_t kMaxSchemaBytes = size_t{256} << 10;
/// $ref to $ref to $ref, and allOf within allOf.
constexpr int kMaxMergeDepth = 64;
/// Merging compares keys with keys; schemas made to merge forever end here.
constexpr uint64_t kMaxMergeWork = 5'000'000;

/// parse_json reads Python's NaN and Infinity too; a schema has none.
class Strict final : public JsonHandler {
 public:
  void begin_object() override {}
  void key(std::string&) override {}
  void end_object() override {}
  void begin_array() override {}
  void end_array() override {}
  void value(Json&&) override {}
};

/// One step of a JSON pointer within a URI's fragment: %41 and ~1, ~0.
std::string decode_step(std::string_view step) {
  std::string plain;
  for (size_t i = 0; i < step.size(); ++i) {
    unsigned value = 0;
    if (step[i] == '%' && i + 2 < step.size() &&
        std::from_chars(step.data() + i + 1, step.data() + i + 3, value, 16).ptr == step.data() + i + 3) {
      plain += static_cast<char>(value);
      i += 2;
    } else {
      plain += step[i];
    }
  }
  std::string out;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] == '~' && i + 1 < plain.size() && (plain[i + 1] == '0' || plain[i + 1] == '1')) {
      out += plain[++i] == '0' ? '~' : '/';
    } else {
      out += plain[i];
    }
  }
  return out;
}

Json type_list(const Json& type) {
  return type.is_array() ? type : Json::array({type});
}

/// Types that both lists name; an integer is a number.
Json common_types(const Json& a, const Json& b) {
  Json out = Json::array();
  const auto has = [](const Json& list, const Json& type) {
    return std::find(list.begin(), list.end(), type) != list.end();
  };
  for (const Json& type : type_list(a)) {
    const Json others = type_list(b);
    if (has(others, type) || (type == "integer" && has(others, "number"))) {
      out.push_back(type);
    } else if (type == "number" && has(others, "integer")) {
      out.push_back("integer");
    }
  }
  return out;
}

/// additionalProperties is about the keys that its own schema has no properties and patterns for. Put together with
/// the keys of another schema, it would be about fewer.
void refuse_mixed_keys(const Json& a, const Json& b, const SchemaPlace& place) {
  const auto patterned = [](const Json& schema) { return schema.contains("patternProperties"); };
  const auto narrows = [](const Json& schema) {
    return schema.contains("additionalProperties") && schema["additionalProperties"] != true;
  };
  const auto has_keys = [&](const Json& schema) {
    return schema.contains("properties") || patterned(schema) || narrows(schema);
  };
  if (has_keys(a) && has_keys(b) && (patterned(a) || patterned(b)) && (narrows(a) || narrows(b))) {
    place.fail_at("patternProperties",
                  "it is not supported where schemas that must both hold have properties, and one ",
                  "of them additionalProperties");
  }
}

}  // namespace

SchemaPlace SchemaPlace::child(const Json& inner, std::string_view key) const {
  std::string step;
  for (const char c : key) {
    if (c == '~' || c == '/') {
      step += c == '~' ? "~0" : "~1";
    } else {
      step += c;
    }
  }
  return {inner, path + "/" + step};
}

SchemaPlace SchemaPlace::child(const Json& inner, std::string_view key, size_t index) const {
  return {inner, str(path, "/", key, "/", index)};
}

bool is_only_annotated(const Json& schema) {
  for (const auto& [name, value] : schema.items()) {
    const SchemaKeyword kind = schema_keyword(name);
    if (kind != SchemaKeyword::annotation && kind != SchemaKeyword::unknown) return false;
  }
  return true;
}

SchemaSource::SchemaSource(std::string_view text) {
  if (text.size() > kMaxSchemaBytes) {
    fail(ErrorCode::invalid_argument, "the JSON schema has ", text.size(), " bytes; at most ", kMaxSchemaBytes,
         " are accepted");
  }
  Strict strict;
  scan_json(text, "the JSON schema", ErrorCode::invalid_argument, strict);
  root_ = parse_json(text, "the JSON schema", ErrorCode::invalid_argument);
}

SchemaPlace SchemaSource::resolve(const SchemaPlace& from, const std::string& reference) const {
  if (reference != "#" && !reference.starts_with("#/")) {
    from.fail_at("$ref", quote(reference), " leads out of the document or to an anchor; references begin with #/");
  }
  const Json* target = &root_;
  for (size_t at = 1; at < reference.size();) {
    const size_t end = std::min(reference.find('/', at + 1), reference.size());
    const std::string step = decode_step(std::string_view(reference).substr(at + 1, end - at - 1));
    at = end;
    const Json* next = nullptr;
    if (target->is_object()) {
      const auto found = target->find(step);
      if (found != target->end()) next = &*found;
    } else if (target->is_array()) {
      size_t index = 0;
      const auto [last, error] = std::from_chars(step.data(), step.data() + step.size(), index);
      if (error == std::errc() && last == step.data() + step.size() && index < target->size()) next = &(*target)[index];
    }
    if (next == nullptr) from.fail_at("$ref", quote(reference), " leads to nothing in this document");
    target = next;
  }
  return {*target, reference};
}

SchemaPlace SchemaSource::flatten(const SchemaPlace& place, int depth) {
  const Json& schema = place.schema;
  if (schema.is_boolean()) return place;
  if (!schema.is_object()) place.fail_at("", "a schema is an object, true or false");
  if (!schema.contains("$ref") && !schema.contains("allOf")) return place;
  if (depth > kMaxMergeDepth) place.fail_at("", "$ref and allOf lead in a circle, or are nested too deeply");
  constexpr std::array<std::string_view, 2> kCombined = {"$ref", "allOf"};
  SchemaPlace out{without_keys(schema, kCombined), place.path};
  if (is_only_annotated(out.schema)) out.schema = true;
  const auto add = [&](const SchemaPlace& other) {
    out.schema = merge(out.schema, flatten(other, depth + 1).schema, place);
  };
  if (schema.contains("$ref")) {
    if (!schema["$ref"].is_string()) place.fail_at("$ref", "it should be a string");
    add(resolve(place, schema["$ref"].get<std::string>()));
  }
  if (schema.contains("allOf")) {
    const Json& all = schema["allOf"];
    if (!all.is_array() || all.empty()) place.fail_at("allOf", "it should be a list of schemas");
    for (size_t i = 0; i < all.size(); ++i) add(place.child(all[i], "allOf", i));
  }
  return out;
}

SchemaPlace SchemaSource::both(const SchemaPlace& a, const SchemaPlace& b) {
  const SchemaPlace left = flatten(a);
  const SchemaPlace right = flatten(b);
  return {merge(left.schema, right.schema, b), b.path};
}

Json SchemaSource::merge(const Json& a, const Json& b, const SchemaPlace& place) {
  if (a.is_boolean()) return a.get<bool>() ? b : a;
  if (b.is_boolean()) return b.get<bool>() ? a : b;
  // What is copied counts by its bytes, what is compared by pairs.
  merge_work_ += a.dump().size() + a.size() * b.size();
  for (const char* list : {"properties", "patternProperties", "required", "enum"}) {
    if (a.contains(list) && b.contains(list)) merge_work_ += uint64_t{a[list].size()} * b[list].size();
  }
  if (merge_work_ > kMaxMergeWork) {
    place.fail_at("", "putting schemas together that must all hold ($ref, allOf, anyOf) takes too long");
  }
  refuse_mixed_keys(a, b, place);
  Json out = a;
  for (const auto& [name, value] : b.items()) {
    const auto found = out.find(name);
    if (found == out.end()) {
      append_key(out, name, value);
      continue;
    }
    Json& mine = *found;
    const SchemaKeyword kind = schema_keyword(name);
    if (mine == value || kind == SchemaKeyword::annotation || kind == SchemaKeyword::unknown) continue;
    const bool numbers = mine.is_number() && value.is_number();
    if (name == "type") {
      mine = common_types(mine, value);
    } else if (name == "required" && mine.is_array() && value.is_array()) {
      for (const Json& item : value) {
        if (std::find(mine.begin(), mine.end(), item) == mine.end()) mine.push_back(item);
      }
    } else if ((name == "properties" || name == "patternProperties") && mine.is_object() && value.is_object()) {
      for (const auto& [property, schema] : value.items()) {
        const auto same = mine.find(property);
        if (same == mine.end()) {
          append_key(mine, property, schema);
        } else if (*same != schema) {
          Json parts = Json::array({*same, schema});
          *same = Json{{"allOf", std::move(parts)}};
        }
      }
    } else if (name == "enum" && mine.is_array() && value.is_array()) {
      Json common = Json::array();
      for (const Json& item : mine) {
        if (std::find(value.begin(), value.end(), item) != value.end()) common.push_back(item);
      }
      mine = std::move(common);
    } else if (numbers && (name.starts_with("min") || name == "exclusiveMinimum")) {
      if (mine < value) mine = value;
    } else if (numbers && (name.starts_with("max") || name == "exclusiveMaximum")) {
      if (value < mine) mine = value;
    } else if (name == "items" || name == "additionalProperties") {
      Json parts = Json::array({mine, value});
      mine = Json{{"allOf", std::move(parts)}};
    } else {
      place.fail_at(name, "two schemas that must both hold say different things, and no form is known that is both");
    }
  }
  // What one of the two says of additional properties holds for those that only the other lists.
  const auto narrow = [&](const Json& listing, const Json& other) {
    if (!listing.contains("properties") || !other.contains("additionalProperties")) return;
    const Json& rest = other["additionalProperties"];
    if (rest == true || !listing["properties"].is_object()) return;
    for (const auto& [property, schema] : listing["properties"].items()) {
      if (other.contains("properties") && other["properties"].contains(property)) continue;
      Json parts = Json::array({schema, rest});
      out["properties"][property] = Json{{"allOf", std::move(parts)}};
    }
  };
  narrow(a, b);
  narrow(b, a);
  return out;
}

}  // namespace bamba
