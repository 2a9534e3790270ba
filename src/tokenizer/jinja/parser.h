#pragma once

#include <string_view>

#include "tokenizer/jinja/ast.h"

namespace bamba::jinja {

/// Throws SyntaxError (lexer.h).
Body parse(std::string_view source);

}  // namespace bamba::jinja
