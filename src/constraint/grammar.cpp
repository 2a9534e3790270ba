#include "constraint/grammar.h"

#include <algorithm>
#include <utility>

#include "base/str.h"

namespace bamba {
namespace {

constexpr size_t kMaxExpressions = size_t{1} << 19;
constexpr size_t kMaxRules = size_t{1} << 16;

}  // namespace

void Grammar::count_parts(size_t parts) {
  more_parts_ += parts;
  if (expressions_.size() + more_parts_ < kMaxExpressions) return;
  fail(ErrorCode::invalid_argument, "a constraint is too large: it has more than ", kMaxExpressions, " parts");
}

ExpressionId Grammar::add(Expression expression) {
  count_parts(0);
  expressions_.push_back(std::move(expression));
  return static_cast<ExpressionId>(expressions_.size() - 1);
}

ExpressionId Grammar::literal(std::string bytes) {
  Expression out;
  out.kind = ExpressionKind::literal;
  out.text = std::move(bytes);
  return add(std::move(out));
}

ExpressionId Grammar::chars(CharSet set) {
  Expression out;
  out.kind = ExpressionKind::chars;
  out.chars = std::move(set);
  return add(std::move(out));
}

ExpressionId Grammar::sequence(std::vector<ExpressionId> parts) {
  if (parts.size() == 1) return parts[0];
  Expression out;
  out.kind = ExpressionKind::sequence;
  out.children = std::move(parts);
  return add(std::move(out));
}

ExpressionId Grammar::choice(std::vector<ExpressionId> alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  Expression out;
  out.kind = ExpressionKind::choice;
  out.children = std::move(alternatives);
  return add(std::move(out));
}

ExpressionId Grammar::words(std::vector<std::string> words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  Expression out;
  out.kind = ExpressionKind::words;
  out.words = std::move(words);
  return add(std::move(out));
}

ExpressionId Grammar::automaton(ByteAutomaton automaton) {
  automaton_states_ += automaton.states.size();
  if (automaton_states_ > ByteAutomaton::kMaxStates) {
    fail(ErrorCode::invalid_argument, "a constraint is too large: its automata have more than ",
         ByteAutomaton::kMaxStates, " states");
  }
  Expression out;
  out.kind = ExpressionKind::automaton;
  out.automaton = static_cast<uint32_t>(automata_.size());
  automata_.push_back(std::move(automaton));
  return add(std::move(out));
}

ExpressionId Grammar::repeat(ExpressionId child, int64_t min, int64_t max) {
  if (min > kMaxCount || max > kMaxCount) {
    fail(ErrorCode::invalid_argument, "a constraint repeats something ", std::max(min, max), " times; at most ",
         kMaxCount, " are accepted");
  }
  Expression out;
  out.kind = ExpressionKind::repeat;
  out.children = {child};
  out.min = min;
  out.max = max;
  return add(std::move(out));
}

ExpressionId Grammar::reference(RuleId rule) {
  Expression out;
  out.kind = ExpressionKind::rule;
  out.rule = rule;
  return add(std::move(out));
}

RuleId Grammar::add_rule(std::string name) {
  if (rules_.size() >= kMaxRules) {
    fail(ErrorCode::invalid_argument, "a constraint is too large: it has more than ", kMaxRules, " rules");
  }
  const ExpressionId nothing = choice({});
  rules_.push_back({std::move(name), nothing});
  return static_cast<RuleId>(rules_.size() - 1);
}

}  // namespace bamba
