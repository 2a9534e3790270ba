#include "constraint/schema_keywords.h"

#include <algorithm>
#include <array>
#include <utility>

namespace bamba {
namespace {

using Entry = std::pair<std::string_view, SchemaKeyword>;
constexpr std::array<Entry, 63> kKeywords = {{
    {"$schema", SchemaKeyword::annotation},
    {"$id", SchemaKeyword::annotation},
    {"$comment", SchemaKeyword::annotation},
    {"$defs", SchemaKeyword::annotation},
    {"definitions", SchemaKeyword::annotation},
    {"title", SchemaKeyword::annotation},
    {"description", SchemaKeyword::annotation},
    {"default", SchemaKeyword::annotation},
    {"example", SchemaKeyword::annotation},
    {"examples", SchemaKeyword::annotation},
    {"deprecated", SchemaKeyword::annotation},
    {"readOnly", SchemaKeyword::annotation},
    {"writeOnly", SchemaKeyword::annotation},
    {"contentEncoding", SchemaKeyword::annotation},
    {"contentMediaType", SchemaKeyword::annotation},
    {"contentSchema", SchemaKeyword::annotation},
    {"type", SchemaKeyword::any_type},
    {"enum", SchemaKeyword::any_type},
    {"const", SchemaKeyword::any_type},
    {"$ref", SchemaKeyword::combines},
    {"allOf", SchemaKeyword::combines},
    {"anyOf", SchemaKeyword::combines},
    {"oneOf", SchemaKeyword::combines},
    {"properties", SchemaKeyword::object},
    {"required", SchemaKeyword::object},
    {"additionalProperties", SchemaKeyword::object},
    {"patternProperties", SchemaKeyword::object},
    {"minProperties", SchemaKeyword::object},
    {"maxProperties", SchemaKeyword::object},
    {"items", SchemaKeyword::array},
    {"prefixItems", SchemaKeyword::array},
    {"minItems", SchemaKeyword::array},
    {"maxItems", SchemaKeyword::array},
    {"uniqueItems", SchemaKeyword::array},
    {"minLength", SchemaKeyword::string},
    {"maxLength", SchemaKeyword::string},
    {"pattern", SchemaKeyword::string},
    {"format", SchemaKeyword::string},
    {"minimum", SchemaKeyword::number},
    {"maximum", SchemaKeyword::number},
    {"exclusiveMinimum", SchemaKeyword::number},
    {"exclusiveMaximum", SchemaKeyword::number},
    {"multipleOf", SchemaKeyword::number},
    {"not", SchemaKeyword::unsupported},
    {"if", SchemaKeyword::unsupported},
    {"then", SchemaKeyword::unsupported},
    {"else", SchemaKeyword::unsupported},
    {"propertyNames", SchemaKeyword::unsupported},
    {"dependentRequired", SchemaKeyword::unsupported},
    {"dependentSchemas", SchemaKeyword::unsupported},
    {"dependencies", SchemaKeyword::unsupported},
    {"unevaluatedProperties", SchemaKeyword::unsupported},
    {"unevaluatedItems", SchemaKeyword::unsupported},
    {"additionalItems", SchemaKeyword::unsupported},
    {"contains", SchemaKeyword::unsupported},
    {"minContains", SchemaKeyword::unsupported},
    {"maxContains", SchemaKeyword::unsupported},
    {"$dynamicRef", SchemaKeyword::unsupported},
    {"$recursiveRef", SchemaKeyword::unsupported},
    {"$dynamicAnchor", SchemaKeyword::annotation},
    {"$recursiveAnchor", SchemaKeyword::annotation},
    {"$anchor", SchemaKeyword::annotation},
    {"$vocabulary", SchemaKeyword::annotation},
}};

}  // namespace

SchemaKeyword schema_keyword(std::string_view name) {
  const auto found =
      std::find_if(kKeywords.begin(), kKeywords.end(), [name](const Entry& entry) { return entry.first == name; });
  return found == kKeywords.end() ? SchemaKeyword::unknown : found->second;
}

std::string_view keyword_type(SchemaKeyword keyword) {
  switch (keyword) {
    case SchemaKeyword::object:
      return "object";
    case SchemaKeyword::array:
      return "array";
    case SchemaKeyword::string:
      return "string";
    case SchemaKeyword::number:
      return "number";
    default:
      return {};
  }
}

bool has_keyword(const Json& schema, SchemaKeyword kind) {
  for (const auto& [name, value] : schema.items()) {
    if (schema_keyword(name) == kind) return true;
  }
  return false;
}

Json without_keys(const Json& schema, std::span<const std::string_view> keys) {
  Json out = Json::object();
  for (const auto& [name, value] : schema.items()) {
    if (std::find(keys.begin(), keys.end(), name) == keys.end()) append_key(out, name, value);
  }
  return out;
}

}  // namespace bamba
