// What each keyword of JSON Schema means to the compiler.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"

namespace bamba {

enum class SchemaKeyword {
  annotation,  ///< says nothing about which values are valid
  any_type,    ///< enum, const, type
  combines,    ///< $ref, allOf, anyOf, oneOf
  object,      ///< about objects only; and so on
  array,
  string,
  number,
  unsupported,  ///< restricts, and is not supported
  unknown,
};
SchemaKeyword schema_keyword(std::string_view name);

/// "object" and so on for the kinds about one type; empty for the others. For number, "number".
std::string_view keyword_type(SchemaKeyword keyword);

/// Whether one of the keys is of this kind.
bool has_keyword(const Json& schema, SchemaKeyword kind);

/// `schema`, an object, without these keys.
Json without_keys(const Json& schema, std::span<const std::string_view> keys);

}  // namespace bamba
