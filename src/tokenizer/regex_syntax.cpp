#include "tokenizer/regex_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <memory>
#include <utility>

#include "base/str.h"

namespace bamba {
namespace {

// White_Space, inside a class. PCRE2's own \s adds U+180E, which left the property in Unicode 6.3.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// Unicode's word characters (UTS 18, annex C, without Join_Control). PCRE2's \w lacks the marks.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

bool compiles(const std::string& pattern) {
  int error = 0;
  size_t where = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error, &where,
                    nullptr),
      &pcre2_code_free);
  return code != nullptr;
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '{' && pattern_.substr(at_).starts_with("{,")) {
        out_ += "{0,";
        at_ += 2;
      } else if (c == '}' && pattern_.substr(at_).starts_with("}+") && repetition_ends_here()) {
        refuse("a '+' after {...}");
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorCode::unsupported, "the regex ", pattern_, " has ", what, " at byte ", at_,
         ", which is not supported in split patterns");
  }
  void copy(size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }
  /// Is the '}' at at_ the end of {n}, {n,} or {n,m}? (Any other brace is a literal.)
  bool repetition_ends_here() const {
    size_t i = at_;
    while (i > 0 && (is_digit(pattern_[i - 1]) || pattern_[i - 1] == ',')) --i;
    return i < at_ && i > 0 && pattern_[i - 1] == '{' && (i < 2 || pattern_[i - 2] != '\\');
  }

  /// `(?flags)`, `(?flags:`: m means "dot matches newline" here, which PCRE2 calls s. Other groups pass as they are.
  void group() {
    const std::string_view rest = pattern_.substr(at_);
    if (rest.starts_with("(*")) refuse("a verb (*...)");
    if (rest.starts_with("(?~")) refuse("an absence operator");
    if (!rest.starts_with("(?")) return copy(1);
    size_t end = 2;
    while (end < rest.size() && (is_letter(rest[end]) || rest[end] == '-')) ++end;
    if (end == 2 || end == rest.size() || (rest[end] != ')' && rest[end] != ':')) {
      if (end > 2) refuse("a group of an unknown kind");
      return copy(2);
    }
    for (size_t i = 0; i < end; ++i) {
      const char c = rest[i];
      if (i >= 2 && c != 'i' && c != 'x' && c != 'm' && c != '-') refuse("an option other than i, m and x");
      out_ += i >= 2 && c == 'm' ? 's' : c;
    }
    at_ += end;
  }

  void character_class() {
    const size_t begin = at_;
    copy(1);
    if (at_ < pattern_.size() && pattern_[at_] == '^') copy(1);
    bool first = true;
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      const std::string_view rest = pattern_.substr(at_);
      if (c == ']' && !first) return copy(1);
      first = false;
      if (c == '\\') {
        escape(true);
      } else if (rest.starts_with("&&")) {
        refuse("a class intersection");
      } else if (rest.starts_with("[:")) {
        const size_t end = rest.find(":]");
        if (end == std::string_view::npos) refuse("an open [: class");
        copy(end + 2);
      } else if (c == '[') {
        refuse("a class inside a class");
      } else {
        copy(1);
      }
    }
    at_ = begin;
    refuse("a class that is never closed");
  }

  void escape(bool in_class) {
    if (at_ + 1 == pattern_.size()) refuse("a backslash at its end");
    const char c = pattern_[at_ + 1];
    const auto emit = [&](std::string_view inside, bool negated) {
      if (in_class && negated) refuse(str("\\", c, " in a class"));
      if (in_class) {
        out_ += inside;
      } else {
        out_ += negated ? "[^" : "[";
        out_ += inside;
        out_ += ']';
      }
      at_ += 2;
    };
    switch (c) {
      case 's':
        return emit(kSpace, false);
      case 'S':
        return in_class ? emit(kNotSpace, false) : emit(kSpace, true);
      case 'w':
        return emit(kWord, false);
      case 'W':
        return emit(kWord, true);
      case 'h':
        return emit("0-9a-fA-F", false);
      case 'H':
        return emit("0-9a-fA-F", true);
      case 'v':
        out_ += "\\x{b}";
        at_ += 2;
        return;
      case 'p':
      case 'P':
        return property();
      case 'u':
        return code_point(4, 4);
      case 'x':
        return pattern_.substr(at_).starts_with("\\x{") ? copy(2) : code_point(1, 2);
      default:
        break;
    }
    constexpr std::string_view kSame = "dDntrfaebBAzZGRX";
    if (is_letter(c) && kSame.find(c) == std::string_view::npos) {
      if (c == 'k' && !in_class) return copy(2);
      refuse(str("the escape \\", c));
    }
    copy(2);
  }

  /// \uHHHH, \xHH -> \x{...}. Oniguruma reads \x80 and up as raw bytes, which have no meaning of their own here.
  void code_point(size_t min_digits, size_t max_digits) {
    size_t digits = 0;
    while (digits < max_digits && at_ + 2 + digits < pattern_.size() && isxdigit(pattern_[at_ + 2 + digits])) ++digits;
    if (digits < min_digits) refuse("an incomplete \\u or \\x");
    const std::string_view hex = pattern_.substr(at_ + 2, digits);
    if (pattern_[at_ + 1] == 'x' && digits == 2 && hex[0] >= '8') refuse("a byte escape past \\x7F");
    out_ += str("\\x{", hex, "}");
    at_ += 2 + digits;
  }

  /// \p{Name}: long category names get PCRE2's short ones, and a script's name means the script itself (PCRE2 would
  /// read it as the wider Script_Extensions).
  void property() {
    const size_t close = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || close == std::string_view::npos) {
      refuse("\\p without a {name}");
    }
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    std::string head(pattern_.substr(at_, 3));
    if (name.starts_with('^')) {
      head += '^';
      name.remove_prefix(1);
    }
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kLong{{{"Letter", "L"},
                                                                                          {"Mark", "M"},
                                                                                          {"Number", "N"},
                                                                                          {"Punctuation", "P"},
                                                                                          {"Symbol", "S"},
                                                                                          {"Separator", "Z"},
                                                                                          {"Other", "C"},
                                                                                          {"Uppercase_Letter", "Lu"},
                                                                                          {"Lowercase_Letter", "Ll"},
                                                                                          {"Decimal_Number", "Nd"},
                                                                                          {"Alpha", "Alphabetic"},
                                                                                          {"Punct", "P"},
                                                                                          {"Digit", "Nd"}}};
    std::string wanted(name);
    for (const auto& [from, to] : kLong) {
      if (name == from) wanted = to;
    }
    if (wanted.size() > 2 && compiles(str("\\p{sc:", wanted, "}"))) wanted = "sc:" + wanted;
    if (!compiles(str("\\p{", wanted, "}"))) refuse(str("the unknown property ", name));
    out_ += str(head, wanted, "}");
    at_ = close + 1;
  }

  std::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_regex(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace bamba
