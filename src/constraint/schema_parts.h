// The parts of a schema that speak of one type, each a file.
#pragma once

#include "base/function_ref.h"
#include "constraint/json_grammar.h"
#include "constraint/schema_source.h"

namespace bamba {

/// The expression for a schema within the one at hand.
using CompileSchema = FunctionRef<ExpressionId(const SchemaPlace&)>;
using FlattenSchema = FunctionRef<SchemaPlace(const SchemaPlace&)>;

ExpressionId compile_object(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile);
/// `flatten` writes out the $ref and allOf of a schema.
ExpressionId compile_array(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile,
                           FlattenSchema flatten);
/// Arrays of at least `min` and at most `max` (kUnbounded: all) different items; `items`, flat, lists what they may be.
/// Throws Error(invalid_argument) where it allows too many values, or any.
ExpressionId compile_unique_items(const SchemaPlace& place, const SchemaPlace& items, int64_t min, int64_t max,
                                  Grammar& grammar, JsonGrammar& json, CompileSchema compile);
ExpressionId compile_string(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json);
ExpressionId compile_integer(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json);
ExpressionId compile_number(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json);

/// The value of a keyword that is a count (0, 1, ...), or `absent`. Throws Error(invalid_argument) for anything else.
int64_t schema_count(const SchemaPlace& place, const char* keyword, int64_t absent);

}  // namespace bamba
