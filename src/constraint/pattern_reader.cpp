#include "constraint/pattern_reader.h"

#include "constraint/grammar.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

CharSet digit_chars() {
  return {'0', '9'};
}

CharSet word_chars() {
  CharSet out('0', '9');
  out.add('A', 'Z');
  out.add('a', 'z');
  out.add('_');
  return out;
}

CharSet space_chars() {
  CharSet out('\t', '\r');
  out.add(' ');
  return out;
}

PatternReader::PatternReader(std::string_view text, std::string what, size_t max_bytes)
    : text_(text), what_(std::move(what)) {
  if (text.size() > max_bytes) {
    fail(ErrorCode::invalid_argument, what_, " has ", text.size(), " bytes; at most ", max_bytes, " are accepted");
  }
  if (!utf8_valid(text)) fail(ErrorCode::invalid_argument, what_, " ", quote(text, 60), " is not valid UTF-8");
}

bool PatternReader::take(std::string_view word) {
  if (!sees(word)) return false;
  at_ += word.size();
  return true;
}

uint32_t PatternReader::take_char() {
  const Utf8Step step = utf8_step(text_, at_);
  at_ += step.length;
  return step.code;
}

uint32_t PatternReader::hex(int digits) {
  uint32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = at_end() ? '\0' : text_[at_];
    const int digit = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) fail_here("an escape needs ", digits, " hexadecimal digits");
    value = value * 16 + static_cast<uint32_t>(digit);
    ++at_;
  }
  return value;
}

CharSet PatternReader::escape() {
  if (at_end()) fail_here("a backslash stands at the end");
  const size_t begin = at_;
  const uint32_t c = take_char();
  const auto single = [](uint32_t code) { return CharSet(code, code); };
  switch (c) {
    case 'd':
      return digit_chars();
    case 'D':
      return digit_chars().complement();
    case 'w':
      return word_chars();
    case 'W':
      return word_chars().complement();
    case 's':
      return space_chars();
    case 'S':
      return space_chars().complement();
    case 'n':
      return single('\n');
    case 'r':
      return single('\r');
    case 't':
      return single('\t');
    case 'f':
      return single('\f');
    case 'v':
      return single('\v');
    case 'x':
      return single(hex(2));
    case 'u': {
      uint32_t code = 0;
      if (take("{")) {
        size_t end = at_;
        while (end < text_.size() && text_[end] != '}') ++end;
        if (end == at_ || end - at_ > 6 || end == text_.size()) fail_here("\\u{...} takes 1 to 6 hexadecimal digits");
        code = hex(static_cast<int>(end - at_));
        ++at_;
      } else {
        code = hex(4);
        if (code >= 0xD800 && code < 0xDC00 && take("\\u")) {  // UTF-16's two halves, as JavaScript writes them
          const uint32_t low = hex(4);
          if (low < 0xDC00 || low > 0xDFFF) fail_here("the first half of a surrogate pair without the second");
          code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
      }
      if (code > kLastCodePoint || (code >= 0xD800 && code <= 0xDFFF)) fail_here("this escape names no character");
      return single(code);
    }
    default:
      break;
  }
  if (c >= '1' && c <= '9') {
    at_ = begin;
    fail_here("back-references are not supported");
  }
  if (c == '0') {
    if (!at_end() && is_digit(text_[at_])) fail_here("octal escapes are not supported; write \\xHH");
    return single(0);
  }
  if (is_letter(c)) {
    at_ = begin;
    if (c == 'b' || c == 'B') fail_here("word boundaries (\\b, \\B) are not supported");
    if (c == 'p' || c == 'P')
      fail_here("Unicode properties (\\p) are not supported; name ranges like [\\u00C0-\\u024F]");
    if (c == 'k') fail_here("back-references are not supported");
    if (c == 'A' || c == 'z' || c == 'Z' || c == 'G') fail_here("this anchor is not supported; use ^ and $");
    fail_here("the escape \\", static_cast<char>(c), " is not supported");
  }
  return single(c);
}

/// Adds one member to a class; is_single says whether it is one character (which may begin a range), then returned.
uint32_t PatternReader::class_member(CharSet& set, bool& is_single) {
  if (at_end()) fail_here("a character class is not closed");
  if (sees("[:") || sees("[=") || sees("[.")) fail_here("POSIX classes like [:alpha:] are not supported; name ranges");
  if (!take("\\")) {
    const uint32_t code = take_char();
    is_single = true;
    return code;
  }
  if (take("b")) {  // within a class: backspace, everywhere
    is_single = true;
    return '\b';
  }
  const CharSet escaped = escape();
  const auto ranges = escaped.ranges();
  is_single = ranges.size() == 1 && ranges[0].low == ranges[0].high;
  if (!is_single) set.add(escaped);
  return ranges[0].low;
}

CharSet PatternReader::char_class() {
  const bool negated = take("^");
  CharSet set;
  bool first = true;
  while (first || !sees("]")) {
    if (first && sees("]")) fail_here("an empty character class; write \\] for the bracket itself");
    first = false;
    bool is_single = false;
    const uint32_t low = class_member(set, is_single);
    const bool is_range = sees("-") && !sees("-]") && rest().size() > 1;
    if (!is_range) {
      if (is_single) set.add(low);
      continue;
    }
    take("-");
    bool high_single = false;
    const uint32_t high = class_member(set, high_single);
    if (!is_single || !high_single) fail_here("a range needs a character at both ends, not a class like \\d");
    if (high < low) fail_here("the range's ends are in the wrong order");
    set.add(low, high);
  }
  take("]");
  return negated ? set.complement() : set;
}

bool PatternReader::count(Count& out) {
  const size_t begin = at_;
  const auto number = [&](int64_t& value) {
    if (at_end() || !is_digit(text_[at_])) return false;
    value = 0;
    while (!at_end() && is_digit(text_[at_])) {
      value = value * 10 + (text_[at_++] - '0');
      if (value > Grammar::kMaxCount) fail_here("a count is larger than ", Grammar::kMaxCount);
    }
    return true;
  };
  take("{");
  const bool has_min = number(out.min);
  if (!has_min) out.min = 0;
  bool good = has_min;
  out.max = out.min;
  if (take(",")) {
    const bool has_max = number(out.max);
    good = has_min || has_max;
    if (!has_max) out.max = kUnbounded;
  }
  if (!good || !take("}")) {
    at_ = begin;
    return false;
  }
  if (out.max != kUnbounded && out.max < out.min) fail_here("a count's ends are in the wrong order");
  return true;
}

}  // namespace bamba
