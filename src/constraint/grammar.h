// The one form that regexes, grammars and JSON schemas are brought into: rules whose bodies are expressions over
// characters and other rules.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "constraint/byte_automaton.h"
#include "constraint/char_set.h"

namespace bamba {

using ExpressionId = uint32_t;
using RuleId = uint32_t;

enum class ExpressionKind : uint8_t {
  literal,    ///< these bytes
  chars,      ///< one character of a set
  sequence,   ///< all children, one after the other; without children: the empty text
  choice,     ///< one of the children; without children: nothing at all matches
  words,      ///< one of many literals
  automaton,  ///< what an automaton accepts
  repeat,     ///< the child min to max times
  rule,       ///< what another rule matches
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
  uint32_t automaton = 0;  ///< the grammar's own number of it
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
  /// Throws Error(invalid_argument) when the automata of the grammar have too many states together.
  ExpressionId automaton(ByteAutomaton automaton);
  /// Throws Error(invalid_argument) for counts past kMaxCount; `max` may be kUnbounded.
  ExpressionId repeat(ExpressionId child, int64_t min, int64_t max);
  ExpressionId optional(ExpressionId child) { return repeat(child, 0, 1); }
  ExpressionId reference(RuleId rule);
  ExpressionId empty() { return sequence({}); }

  size_t size() const { return expressions_.size(); }
  /// Parts of a grammar that only served to make some of this one, so that what it takes to make one is bounded too.
  /// Throws Error(invalid_argument) when all together are too many.
  void count_parts(size_t parts);

  /// A rule whose body comes later: until then nothing matches it.
  RuleId add_rule(std::string name);
  void set_body(RuleId rule, ExpressionId body) { rules_[rule].body = body; }

  const Expression& operator[](ExpressionId id) const { return expressions_[id]; }
  const ByteAutomaton& automaton_of(const Expression& expression) const { return automata_[expression.automaton]; }
  const std::vector<Rule>& rules() const { return rules_; }

  static constexpr int64_t kMaxCount = 100000;

 private:
  ExpressionId add(Expression expression);

  std::vector<Expression> expressions_;
  size_t more_parts_ = 0;
  std::vector<Rule> rules_;
  std::vector<ByteAutomaton> automata_;
  size_t automaton_states_ = 0;
};

}  // namespace bamba
