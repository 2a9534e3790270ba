// A plain validator of JSON Schema, to check the compiler against: other code, straight from the specification.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>

namespace bamba::test {

class SchemaValidator {
 public:
  using Json = nlohmann::json;
  explicit SchemaValidator(Json root) : root_(std::move(root)) {}

  bool valid(const Json& value) const { return valid(root_, value); }

 private:
  static size_t characters(const std::string& text) {
    size_t count = 0;
    for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    return count;
  }
  static bool is_type(const std::string& type, const Json& value) {
    if (type == "integer") {
      return value.is_number_integer() || (value.is_number() && std::floor(value.get<double>()) == value.get<double>());
    }
    if (type == "number") return value.is_number();
    return value.type_name() == type;
  }

  bool valid(const Json& schema, const Json& value) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref")) {
      const std::string reference = schema["$ref"];
      const Json& target = root_.at(Json::json_pointer(reference.substr(1)));
      if (!valid(target, value)) return false;
    }
    if (schema.contains("type")) {
      bool found = false;
      const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
      for (const Json& type : types) found = found || is_type(type, value);
      if (!found) return false;
    }
    if (schema.contains("const") && schema["const"] != value) return false;
    if (schema.contains("enum") && std::count(schema["enum"].begin(), schema["enum"].end(), value) == 0) return false;
    for (const char* keyword : {"anyOf", "oneOf"}) {
      if (!schema.contains(keyword)) continue;
      bool any = false;
      for (const Json& inner : schema[keyword]) any = any || valid(inner, value);
      if (!any) return false;
    }
    if (schema.contains("allOf")) {
      for (const Json& inner : schema["allOf"]) {
        if (!valid(inner, value)) return false;
      }
    }
    if (value.is_object()) return valid_object(schema, value);
    if (value.is_array()) return valid_array(schema, value);
    if (value.is_string()) return valid_string(schema, value.get<std::string>());
    if (value.is_number()) return valid_number(schema, value.get<double>());
    return true;
  }

  bool valid_object(const Json& schema, const Json& value) const {
    for (const Json& name : schema.value("required", Json::array())) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    const Json properties = schema.value("properties", Json::object());
    const Json patterns = schema.value("patternProperties", Json::object());
    for (const auto& [name, inner] : value.items()) {
      bool known = properties.contains(name);
      if (known && !valid(properties[name], inner)) return false;
      for (const auto& [pattern, wanted] : patterns.items()) {
        if (!std::regex_search(name, std::regex(pattern))) continue;
        known = true;
        if (!valid(wanted, inner)) return false;
      }
      if (!known && schema.contains("additionalProperties") && !valid(schema["additionalProperties"], inner)) {
        return false;
      }
    }
    return true;
  }

  bool valid_array(const Json& schema, const Json& value) const {
    if (value.size() < schema.value("minItems", size_t{0})) return false;
    if (value.size() > schema.value("maxItems", SIZE_MAX)) return false;
    if (schema.value("uniqueItems", false) && std::set<Json>(value.begin(), value.end()).size() < value.size()) {
      return false;
    }
    const Json first = schema.value("prefixItems", Json::array());
    for (size_t i = 0; i < value.size(); ++i) {
      if (i < first.size()) {
        if (!valid(first[i], value[i])) return false;
      } else if (schema.contains("items") && !valid(schema["items"], value[i])) {
        return false;
      }
    }
    return true;
  }

  static bool valid_string(const Json& schema, const std::string& text) {
    const size_t length = characters(text);
    if (length < schema.value("minLength", size_t{0}) || length > schema.value("maxLength", SIZE_MAX)) return false;
    if (schema.contains("pattern")) return std::regex_search(text, std::regex(schema["pattern"].get<std::string>()));
    return true;
  }

  static bool valid_number(const Json& schema, double number) {
    if (schema.contains("minimum") && number < schema["minimum"].get<double>()) return false;
    if (schema.contains("maximum") && number > schema["maximum"].get<double>()) return false;
    // A number closer to the bound than doubles can tell is not held against the text.
    if (schema.contains("exclusiveMinimum") && number < schema["exclusiveMinimum"].get<double>()) return false;
    if (schema.contains("exclusiveMaximum") && number > schema["exclusiveMaximum"].get<double>()) return false;
    if (schema.contains("multipleOf")) {
      // Doubles tell no more of a large quotient than that it is about a whole number.
      const double quotient = number / schema["multipleOf"].get<double>();
      if (std::abs(quotient - std::round(quotient)) > 1e-9 * std::max(1.0, std::abs(quotient))) return false;
    }
    return true;
  }

  Json root_;
};

}  // namespace bamba::test
