// The one form that regexes, grammars and JSON schemas are brought into: rules whose bodies are expressions over
// characters and other rules.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "constraint/char_set.h"

namespace bamba {

using ExpressionId = uint32_t;
using RuleId = uint32_t;

enum class ExpressionKind : uint8_t {
  literal,   ///< these bytes
  chars,     ///< one character of a set
  sequence,  ///< all children, one after the other; without children: the empty text
  choice,    ///< one of the children; without children: nothing at all matches
  words,     ///< one of many literals
  repeat,    ///< the child min to max times
  rule,      ///< what another rule matches
};

constexpr int64_t kUnbounded = -1;

struct Expression {
  ExpressionKind kind = ExpressionKind::sequence;
  std::string text;                    ///< literal
  CharSet chars;                       ///< chars
  std::vector<ExpressionId> children;  ///< sequence, choice; repeat: one
  std::vector<std::string> words;      ///< words, sorted
  int64_t min = 0;                     ///< repeat
  int64_t max = 0;                     ///< repeat; kUnbounded: no end
  RuleId rule = 0;
};

struct Rule {
  std::string name;  ///< for messages
  ExpressionId body = 0;
};

/// Rule 0 is where matching starts. Sizes are bounded: what a hostile request could make endless ends in
/// Error(invalid_argument).
class Grammar {
 public:
  ExpressionId literal(std::string bytes);
  ExpressionId chars(CharSet set);
  ExpressionId sequence(std::vector<ExpressionId> parts);
  ExpressionId choice(std::vector<ExpressionId> alternatives);
  ExpressionId words(std::vector<std::string> words);
  /// Throws Error(invalid_argument) for counts past kMaxCount; `max` may be kUnbounded.
  ExpressionId repeat(ExpressionId child, int64_t min, int64_t max);
  ExpressionId optional(ExpressionId child) { return repeat(child, 0, 1); }
  ExpressionId reference(RuleId rule);
  ExpressionId empty() { return sequence({}); }

  /// A rule whose body comes later: until then nothing matches it.
  RuleId add_rule(std::string name);
  void set_body(RuleId rule, ExpressionId body) { rules_[rule].body = body; }

  const Expression& operator[](ExpressionId id) const { return expressions_[id]; }
  const std::vector<Rule>& rules() const { return rules_; }

  static constexpr int64_t kMaxCount = 100000;

 private:
  ExpressionId add(Expression expression);

  std::vector<Expression> expressions_;
  std::vector<Rule> rules_;
};

}  // namespace bamba
