// JSON Schema to a grammar of the JSON texts that are valid.
#pragma once

#include <string_view>

#include "constraint/grammar.h"

namespace bamba {

/// Throws Error(invalid_argument) that names the place in the schema and the keyword.
Grammar parse_json_schema(std::string_view text);
/// Any JSON object.
Grammar json_object_grammar();

}  // namespace bamba
