// Cuts a template into text and the tokens of its tags, white space control included.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace bamba::jinja {

struct Token {
  enum class Kind { text, output_begin, output_end, block_begin, block_end, name, literal, op, end };
  Kind kind;
  int line;
  std::string text;  ///< of text, name and op
  Value value;       ///< of a literal
};

/// With trim_blocks (the line break after a block tag goes) and lstrip_blocks (so do the blanks before it on its line).
/// Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

struct SyntaxError {
  int line;
  std::string message;
};

}  // namespace bamba::jinja
