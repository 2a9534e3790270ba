#include "constraint/grammar_parser.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "constraint/pattern_reader.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr size_t kMaxGrammarBytes = size_t{1} << 20;
constexpr int kMaxNesting = 200;

class GrammarParser {
 public:
  explicit GrammarParser(std::string_view text) : reader_(text, "the grammar", kMaxGrammarBytes) {
    rule_named("root");  // rule 0, wherever its body stands
  }

  Grammar parse() {
    skip_space();
    while (!reader_.at_end()) {
      const size_t begin = reader_.position();
      const std::string name = take_name();
      if (name.empty()) reader_.fail_here("a rule's name should stand here (letters, digits, - and _)");
      skip_space();
      if (!reader_.take("::=")) reader_.fail_here("::= should follow the rule's name ", quote(name));
      const RuleId rule = rule_named(name);
      if (places_[rule].has_body) {
        reader_.go_back_to(begin);
        reader_.fail_here("the rule ", quote(name), " is there already");
      }
      places_[rule].has_body = true;
      skip_space();
      grammar_.set_body(rule, alternatives(0));
      if (!reader_.at_end() && !at_rule()) reader_.fail_here("a rule should begin here, or an item of one");
    }
    for (const auto& [name, rule] : names_) {
      if (places_[rule].has_body) continue;
      if (rule == 0) reader_.fail_here("there is no rule \"root\"");
      reader_.go_back_to(places_[rule].first_use);
      reader_.fail_here("there is no rule ", quote(name));
    }
    return std::move(grammar_);
  }

 private:
  struct Place {
    bool has_body = false;
    size_t first_use = 0;
  };

  RuleId rule_named(const std::string& name) {
    const auto [found, is_new] = names_.try_emplace(name, 0);
    if (is_new) {
      found->second = grammar_.add_rule(name);
      places_.push_back({false, reader_.position()});
    }
    return found->second;
  }

  void skip_space() {
    while (!reader_.at_end()) {
      if (reader_.take("#")) {
        while (!reader_.at_end() && !reader_.sees("\n")) reader_.take_char();
      } else if (!reader_.take(" ") && !reader_.take("\n") && !reader_.take("\t") && !reader_.take("\r")) {
        return;
      }
    }
  }

  std::string take_name() {
    std::string name;
    const std::string_view rest = reader_.rest();
    while (name.size() < rest.size()) {
      const char c = rest[name.size()];
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
      const bool later = (c >= '0' && c <= '9') || c == '-';
      if (!letter && (!later || name.empty())) break;
      name += c;
    }
    reader_.take(name);
    return name;
  }

  /// A name with ::= after it: line ends mean nothing, so this is what ends the rule before.
  bool at_rule() {
    const size_t begin = reader_.position();
    const bool named = !take_name().empty();
    skip_space();
    const bool found = named && reader_.sees("::=");
    reader_.go_back_to(begin);
    return found;
  }

  ExpressionId alternatives(int depth) {
    if (depth > kMaxNesting) reader_.fail_here("groups are nested deeper than ", kMaxNesting, " levels");
    std::vector<ExpressionId> all;
    while (true) {
      std::vector<ExpressionId> parts;
      while (!reader_.at_end() && !reader_.sees("|") && !reader_.sees(")") && !at_rule()) {
        parts.push_back(item(depth));
      }
      all.push_back(grammar_.sequence(std::move(parts)));
      if (!reader_.take("|")) return grammar_.choice(std::move(all));
      skip_space();
    }
  }

  ExpressionId item(int depth) {
    ExpressionId part = atom(depth);
    skip_space();
    while (true) {
      PatternReader::Count count;
      if (reader_.take("*")) {
        count = {0, kUnbounded};
      } else if (reader_.take("+")) {
        count = {1, kUnbounded};
      } else if (reader_.take("?")) {
        count = {0, 1};
      } else if (reader_.sees("{")) {
        if (!reader_.count(count)) reader_.fail_here("a count is written {2}, {2,} or {2,5}");
      } else {
        return part;
      }
      part = grammar_.repeat(part, count.min, count.max);
      skip_space();
    }
  }

  ExpressionId atom(int depth) {
    if (reader_.take("\"")) return literal();
    if (reader_.take("[")) return grammar_.chars(reader_.char_class());
    if (reader_.take(".")) return grammar_.chars(CharSet(0, kLastCodePoint));
    if (reader_.take("(")) {
      skip_space();
      const ExpressionId body = alternatives(depth + 1);
      if (!reader_.take(")")) reader_.fail_here("a group is not closed");
      return body;
    }
    const std::string name = take_name();
    if (name.empty()) {
      reader_.fail_here("this begins no item; items are \"text\", [class], ., (group) and names of rules");
    }
    return grammar_.reference(rule_named(name));
  }

  ExpressionId literal() {
    std::string text;
    while (!reader_.take("\"")) {
      if (reader_.at_end() || reader_.sees("\n")) reader_.fail_here("a text in quotes is not closed");
      if (!reader_.take("\\")) {
        utf8_append(text, reader_.take_char());
        continue;
      }
      const auto escaped = reader_.escape().ranges();
      if (escaped.size() != 1 || escaped[0].low != escaped[0].high) {
        reader_.fail_here("classes like \\d are written outside quotes, as [\\d]");
      }
      utf8_append(text, escaped[0].low);
    }
    return grammar_.literal(std::move(text));
  }

  PatternReader reader_;
  Grammar grammar_;
  std::map<std::string, RuleId> names_;
  std::vector<Place> places_;  // [rule]
};

}  // namespace

Grammar parse_grammar(std::string_view text) {
  return GrammarParser(text).parse();
}

}  // namespace bamba
