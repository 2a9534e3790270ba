// Grammars written as text: rules of the form `name ::= alternatives`.
#pragma once

#include <string_view>

#include "constraint/grammar.h"

namespace bamba {

/// The rule "root" is where matching starts. Throws Error(invalid_argument) that names what is wrong and where.
Grammar parse_grammar(std::string_view text);

}  // namespace bamba
