// Regular expressions to expressions of a grammar.
#pragma once

#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "constraint/grammar.h"

namespace bamba {

struct ParsedRegex {
  struct Alternative {
    ExpressionId body = 0;
    bool from_start = false;  ///< written with ^
    bool to_end = false;      ///< written with $
  };
  std::vector<Alternative> alternatives;

  /// The pattern as that of the whole text: anchors say nothing new.
  ExpressionId whole(Grammar& grammar) const;
  /// The pattern somewhere in the text: `any` fills up where there is no anchor.
  ExpressionId somewhere(Grammar& grammar, ExpressionId any) const;
};

/// How the characters of a set are written: as they are, or escaped within a JSON string.
using SpellChars = FunctionRef<ExpressionId(const CharSet&)>;

/// Throws Error(invalid_argument) that names what is wrong or not supported, and where.
ParsedRegex parse_regex(std::string_view pattern, Grammar& grammar);
ParsedRegex parse_regex(std::string_view pattern, Grammar& grammar, SpellChars spell);

}  // namespace bamba
