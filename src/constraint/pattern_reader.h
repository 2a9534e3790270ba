// What regexes and grammars have in common: a cursor over their text, escapes and character classes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/str.h"
#include "constraint/char_set.h"

namespace bamba {

/// Walks over UTF-8 text; all errors are Error(invalid_argument) with the byte position.
class PatternReader {
 public:
  /// `what` begins messages ("the regex"). Throws if the text is not UTF-8 or longer than max_bytes.
  PatternReader(std::string_view text, std::string what, size_t max_bytes);

  bool at_end() const { return at_ == text_.size(); }
  size_t position() const { return at_; }
  void go_back_to(size_t position) { at_ = position; }
  std::string_view rest() const { return text_.substr(at_); }
  bool sees(std::string_view word) const { return rest().starts_with(word); }
  /// Steps over the word if it is next.
  bool take(std::string_view word);
  /// The next character; the text must not be at its end.
  uint32_t take_char();

  /// Behind a backslash: one character, or a class like \d.
  CharSet escape();
  /// Behind "[": the rest of a class, its "]" included.
  CharSet char_class();
  struct Count {
    int64_t min = 0;
    int64_t max = 0;
  };
  /// At "{": {2}, {2,}, {2,5} or {,5}. False, and nothing is read, for a brace that begins no such thing.
  bool count(Count& out);

  template <typename... Parts>
  [[noreturn]] void fail_here(const Parts&... parts) const {
    fail(ErrorCode::invalid_argument, what_, " ", quote(text_, 60), " is not accepted at byte ", at_, ": ", parts...);
  }

 private:
  uint32_t hex(int digits);
  uint32_t class_member(CharSet& set, bool& is_single);

  std::string_view text_;
  std::string what_;
  size_t at_ = 0;
};

CharSet digit_chars();
CharSet word_chars();
CharSet space_chars();

}  // namespace bamba
