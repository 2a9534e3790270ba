// The parts of a schema that speak of one type, each a file.
#pragma once

#include "base/function_ref.h"
#include "constraint/json_grammar.h"
#include "constraint/schema_source.h"

namespace bamba {

/// The expression for a schema within the one at hand.
using CompileSchema = FunctionRef<ExpressionId(const SchemaPlace&)>;

ExpressionId compile_object(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile);
ExpressionId compile_array(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json, CompileSchema compile);
ExpressionId compile_string(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json);
ExpressionId compile_integer(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json);
ExpressionId compile_number(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json);

/// The value of a keyword that is a count (0, 1, ...), or `absent`. Throws Error(invalid_argument) for anything else.
int64_t schema_count(const SchemaPlace& place, const char* keyword, int64_t absent);

}  // namespace bamba
