// Python's string functions that filters and methods share.
#pragma once

#include <string>
#include <string_view>

#include "tokenizer/jinja/value.h"

namespace bamba::jinja {

/// Case of ASCII, Latin-1, Greek and Cyrillic letters; others stay as they are.
std::string upper_case(std::string_view text);
std::string lower_case(std::string_view text);
/// First letter upper case, the rest lower; with `words`, for each word.
std::string capitalize(std::string_view text, bool words);
/// str.strip(): white space, or any of `set`'s characters, from the sides asked for.
std::string strip(std::string_view text, const Value* set, bool left, bool right);
/// str.replace(); count < 0: all.
std::string replace_text(Interpreter& interpreter, std::string_view text, std::string_view from, std::string_view to,
                         int64_t count);
/// str.split() and rsplit(); none: at white space.
List split_text(std::string_view text, const Value* separator, int64_t limit, bool from_right);
List split_lines(std::string_view text, bool keep_ends);

}  // namespace bamba::jinja
