#include "constraint/regex_parser.h"

#include "constraint/pattern_reader.h"

namespace bamba {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr int kMaxNesting = 200;

class RegexParser {
 public:
  RegexParser(std::string_view pattern, Grammar& grammar, SpellChars spell)
      : reader_(pattern, "the regex", kMaxPatternBytes), grammar_(grammar), spell_(spell) {}

  ParsedRegex parse() {
    ParsedRegex out;
    do {
      ParsedRegex::Alternative alternative;
      while (reader_.take("^")) alternative.from_start = true;
      alternative.body = sequence(0, &alternative.to_end);
      out.alternatives.push_back(alternative);
    } while (reader_.take("|"));
    if (!reader_.at_end()) reader_.fail_here("a closing parenthesis without an opening one");
    return out;
  }

 private:
  ExpressionId alternatives(int depth) {
    std::vector<ExpressionId> all;
    do {
      all.push_back(sequence(depth, nullptr));
    } while (reader_.take("|"));
    return grammar_.choice(std::move(all));
  }

  /// Up to "|", ")" or the end. `to_end` takes note of a final $; null where there may be none.
  ExpressionId sequence(int depth, bool* to_end) {
    std::vector<ExpressionId> parts;
    while (!reader_.at_end() && !reader_.sees("|") && !reader_.sees(")")) {
      if (to_end != nullptr && reader_.take("$")) {
        *to_end = true;
        while (reader_.take("$")) {
        }
        if (reader_.at_end() || reader_.sees("|")) break;
        fail_anchor();
      }
      parts.push_back(repeated(depth));
    }
    return grammar_.sequence(std::move(parts));
  }

  ExpressionId repeated(int depth) {
    ExpressionId part = atom(depth);
    for (bool first = true;; first = false) {
      PatternReader::Count count;
      if (reader_.take("*")) {
        count = {0, kUnbounded};
      } else if (reader_.take("+")) {
        count = {1, kUnbounded};
      } else if (reader_.take("?")) {
        count = {0, 1};
      } else if (!reader_.sees("{") || !reader_.count(count)) {
        return part;
      }
      if (!first) reader_.fail_here("two counts in a row; write (?:...) around the first");
      // How much a part takes first makes no difference to what matches as a whole; giving nothing back does.
      if (reader_.take("+")) reader_.fail_here("possessive counts are not supported");
      reader_.take("?");
      part = grammar_.repeat(part, count.min, count.max);
    }
  }

  ExpressionId atom(int depth) {
    if (reader_.take("(")) return group(depth + 1);
    if (reader_.take("[")) return spell_(reader_.char_class());
    if (reader_.take("\\")) return spell_(reader_.escape());
    if (reader_.take(".")) return spell_(CharSet('\n', '\n').complement());
    if (reader_.sees("^") || reader_.sees("$")) fail_anchor();
    if (reader_.sees("*") || reader_.sees("+") || reader_.sees("?")) reader_.fail_here("nothing to repeat");
    const size_t begin = reader_.position();
    PatternReader::Count count;
    if (reader_.sees("{") && reader_.count(count)) {
      reader_.go_back_to(begin);
      reader_.fail_here("nothing to repeat");
    }
    const uint32_t code = reader_.take_char();
    return spell_(CharSet(code, code));
  }

  ExpressionId group(int depth) {
    if (depth > kMaxNesting) reader_.fail_here("groups are nested deeper than ", kMaxNesting, " levels");
    if (reader_.sees("?")) group_kind();
    if (reader_.sees("*")) reader_.fail_here("verbs like (*SKIP) are not supported");
    const ExpressionId body = alternatives(depth);
    if (!reader_.take(")")) reader_.fail_here("a group is not closed");
    return body;
  }

  void group_kind() {
    if (reader_.take("?:")) return;
    if (reader_.sees("?=") || reader_.sees("?!")) reader_.fail_here("look-ahead is not supported");
    if (reader_.sees("?<=") || reader_.sees("?<!")) reader_.fail_here("look-behind is not supported");
    if (reader_.sees("?>")) reader_.fail_here("atomic groups are not supported");
    if (reader_.take("?<") || reader_.take("?P<")) {
      bool named = false;
      while (!reader_.at_end() && !reader_.sees(">")) {
        const uint32_t c = reader_.take_char();
        named = word_chars().contains(c);
        if (!named) break;
      }
      if (named && reader_.take(">")) return;
      reader_.fail_here("a group's name is made of letters, digits and _, and ends in >");
    }
    reader_.fail_here("groups that begin with (? are supported as (?:...) and (?<name>...) only");
  }

  [[noreturn]] void fail_anchor() const {
    reader_.fail_here("^ and $ are supported at the ends of the pattern (or of its outermost alternatives) only");
  }

  PatternReader reader_;
  Grammar& grammar_;
  SpellChars spell_;
};

}  // namespace

ExpressionId ParsedRegex::whole(Grammar& grammar) const {
  std::vector<ExpressionId> bodies;
  bodies.reserve(alternatives.size());
  for (const Alternative& alternative : alternatives) bodies.push_back(alternative.body);
  return grammar.choice(std::move(bodies));
}

ExpressionId ParsedRegex::somewhere(Grammar& grammar, ExpressionId any) const {
  const ExpressionId filler = grammar.repeat(any, 0, kUnbounded);
  std::vector<ExpressionId> bodies;
  for (const Alternative& alternative : alternatives) {
    std::vector<ExpressionId> parts;
    if (!alternative.from_start) parts.push_back(filler);
    parts.push_back(alternative.body);
    if (!alternative.to_end) parts.push_back(filler);
    bodies.push_back(grammar.sequence(std::move(parts)));
  }
  return grammar.choice(std::move(bodies));
}

ParsedRegex parse_regex(std::string_view pattern, Grammar& grammar, SpellChars spell) {
  return RegexParser(pattern, grammar, spell).parse();
}

ParsedRegex parse_regex(std::string_view pattern, Grammar& grammar) {
  const auto plain = [&grammar](const CharSet& set) { return grammar.chars(set); };
  return parse_regex(pattern, grammar, plain);
}

}  // namespace bamba
