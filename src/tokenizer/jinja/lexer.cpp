#include "tokenizer/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// White space control goes by Python's str.isspace(), tags are separated by ASCII blanks.
size_t blanks_from(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Step step = utf8_step(text, at);
    if (!is_unicode_space(step.code) && !(step.code >= 0x1C && step.code <= 0x1F)) break;
    at += step.length;
  }
  return at;
}

void strip_right(std::string& text) {
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (blanks_from(text, last) != text.size()) return;
    text.resize(last);
  }
}

/// Drops the blanks after the last line break; `line_begins`: the text's start is the start of a line.
void strip_line_start(std::string& text, bool line_begins) {
  const size_t begin = text.rfind('\n') + 1;  // npos + 1 is 0
  if ((begin > 0 || line_begins) && blanks_from(text, begin) == text.size()) text.resize(begin);
}

/// \r\n and \r become \n; one line break at the very end is dropped.
std::string normalize_lines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_lines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_and_tag();
    push(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(const std::string& message) const { throw SyntaxError{line_, message}; }
  void push(Token::Kind kind, std::string text, Value value = {}) {
    tokens_.push_back({kind, line_, std::move(text), std::move(value)});
  }
  bool looking_at(std::string_view text) const { return std::string_view(source_).substr(at_).starts_with(text); }
  void advance(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  void skip_blanks() {
    size_t to = at_;
    while (to < source_.size() && is_blank(source_[to])) ++to;
    advance(to);
  }

  size_t next_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string::npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && std::string_view("{%#").find(source_[at + 1]) != std::string_view::npos) return at;
    }
    return source_.size();
  }

  /// The text up to the next tag, shortened as the tag's sign or lstrip_blocks says.
  void text_and_tag() {
    const size_t tag = next_tag(at_);
    std::string text = source_.substr(at_, tag - at_);
    const bool whole_line = at_ == 0 || source_[at_ - 1] == '\n';
    if (tag < source_.size()) {
      const char kind = source_[tag + 1];
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      if (sign == '-') {
        strip_right(text);
      } else if (sign != '+' && kind != '{') {
        strip_line_start(text, whole_line);
      }
    }
    if (!text.empty()) push(Token::Kind::text, std::move(text));
    advance(tag);
    if (tag == source_.size()) return;
    const char kind = source_[tag + 1];
    if (kind == '#') {
      comment();
    } else if (!raw_block()) {
      advance(at_ + 2);
      if (at_ < source_.size() && (source_[at_] == '-' || (source_[at_] == '+' && kind == '%'))) advance(at_ + 1);
      push(kind == '{' ? Token::Kind::output_begin : Token::Kind::block_begin, "");
      expression(kind == '{' ? "}}" : "%}");
    }
  }

  /// Behind a tag's end: a '-' eats all white space, a block or comment one line break.
  void after_tag(bool minus, bool plus, bool block) {
    if (minus) {
      advance(blanks_from(source_, at_));
    } else if (block && !plus && looking_at("\n")) {
      advance(at_ + 1);
    }
  }

  void comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) error("a comment is never closed");
    const bool minus = end > at_ + 2 && source_[end - 1] == '-';
    const bool plus = end > at_ + 2 && source_[end - 1] == '+';
    advance(end + 2);
    after_tag(minus, plus, true);
  }

  /// At a tag: consumes it when it is `{% name %}`, with signs.
  bool plain_tag(size_t at, std::string_view name, size_t& end, bool& minus_before, bool& minus_after) const {
    const std::string_view s(source_);
    if (!s.substr(at).starts_with("{%")) return false;
    at += 2;
    minus_before = at < s.size() && s[at] == '-';
    if (at < s.size() && (s[at] == '-' || s[at] == '+')) ++at;
    while (at < s.size() && is_blank(s[at])) ++at;
    if (!s.substr(at).starts_with(name)) return false;
    at += name.size();
    while (at < s.size() && is_blank(s[at])) ++at;
    minus_after = at < s.size() && s[at] == '-';
    if (minus_after) ++at;
    end = at + 2;
    return s.substr(at).starts_with("%}");
  }

  bool raw_block() {
    size_t end = 0;
    bool before = false;
    bool after = false;
    if (!plain_tag(at_, "raw", end, before, after)) return false;
    advance(end);
    after_tag(after, false, true);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 2)) {
      if (!plain_tag(tag, "endraw", end, before, after)) continue;
      std::string text = source_.substr(at_, tag - at_);
      if (before) {
        strip_right(text);
      } else {
        strip_line_start(text, false);
      }
      if (!text.empty()) push(Token::Kind::text, std::move(text));
      advance(end);
      after_tag(after, false, true);
      return true;
    }
    error("{% raw %} is never closed");
  }

  void expression(std::string_view closing) {
    int open = 0;  // a }} inside a dict literal does not close the tag
    for (;;) {
      skip_blanks();
      if (at_ >= source_.size()) error("a tag is never closed");
      if (open == 0) {
        const bool minus = looking_at("-") && std::string_view(source_).substr(at_ + 1).starts_with(closing);
        const bool plus = looking_at("+") && std::string_view(source_).substr(at_ + 1).starts_with(closing);
        if (minus || plus || looking_at(closing)) {
          const bool block = closing == "%}";
          push(block ? Token::Kind::block_end : Token::Kind::output_end, "");
          advance(at_ + (minus || plus ? 3 : 2));
          after_tag(minus, plus, block);
          return;
        }
      }
      const char c = source_[at_];
      if (is_name_start(c)) {
        size_t end = at_;
        while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
        push(Token::Kind::name, source_.substr(at_, end - at_));
        advance(end);
      } else if (is_digit(c)) {
        number();
      } else if (c == '\'' || c == '"') {
        string();
      } else {
        open += c == '(' || c == '[' || c == '{';
        open -= c == ')' || c == ']' || c == '}';
        symbol();
      }
    }
  }

  void symbol() {
    for (const std::string_view two : {"==", "!=", "<=", ">=", "//", "**"}) {
      if (!looking_at(two)) continue;
      push(Token::Kind::op, std::string(two));
      return advance(at_ + 2);
    }
    if (std::string_view("+-*/%~<>=()[]{},:.|").find(source_[at_]) == std::string_view::npos) {
      error(str("the character '", source_[at_], "' has no meaning here"));
    }
    push(Token::Kind::op, std::string(1, source_[at_]));
    advance(at_ + 1);
  }

  void number() {
    std::string digits;
    bool real = false;
    size_t end = at_;
    for (; end < source_.size(); ++end) {
      const char c = source_[end];
      const char next = end + 1 < source_.size() ? source_[end + 1] : '\0';
      if (c == '_' && is_digit(next)) continue;
      if (c == '.' && is_digit(next) && !real) {
        real = true;
      } else if (!is_digit(c)) {
        break;
      }
      digits += c;
    }
    // An exponent: 1e5, 1.5e-3.
    const auto digit_at = [&](size_t i) { return i < source_.size() && is_digit(source_[i]); };
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
      if (digit_at(end + 1 + sign)) {
        real = true;
        digits += source_.substr(end, 1 + sign);
        for (end += 1 + sign; digit_at(end); ++end) digits += source_[end];
      }
    }
    int64_t integer = 0;
    double value = 0;
    const char* last = digits.data() + digits.size();
    if (real) {
      std::from_chars(digits.data(), last, value);
    } else if (std::from_chars(digits.data(), last, integer).ec != std::errc()) {
      error(str("the number ", digits, " is too large"));
    }
    push(Token::Kind::literal, digits, real ? Value(value) : Value(integer));
    advance(end);
  }

  void string() {
    const char quote = source_[at_];
    std::string text;
    size_t i = at_ + 1;
    for (;; ++i) {
      if (i >= source_.size()) error("a string is never closed");
      const char c = source_[i];
      if (c == quote) break;
      if (c != '\\' || i + 1 >= source_.size()) {
        text += c;
        continue;
      }
      const char letter = source_[++i];
      constexpr std::string_view kLetters = "nrtbfav0";
      constexpr std::string_view kMeanings("\n\r\t\b\f\a\v\0", 8);
      const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
      if (const size_t known = kLetters.find(letter); known != std::string_view::npos) {
        text += kMeanings[known];
      } else if (digits > 0) {
        uint32_t code = 0;
        const char* from = source_.data() + i + 1;
        const bool enough = i + digits < source_.size();
        if (!enough || std::from_chars(from, from + digits, code, 16).ptr != from + digits || code > 0x10FFFF ||
            (code >= 0xD800 && code < 0xE000)) {
          error("an escape in a string is not a character");
        }
        utf8_append(text, code);
        i += digits;
      } else if (letter == '\\' || letter == '\'' || letter == '"') {
        text += letter;
      } else if (letter != '\n') {  // Python keeps the backslash of an escape it does not know
        text += '\\';
        text += letter;
      }
    }
    push(Token::Kind::literal, "", Value(std::move(text)));
    advance(i + 1);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace bamba::jinja
