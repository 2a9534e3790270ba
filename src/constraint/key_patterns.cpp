#include "constraint/key_patterns.h"

#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/json.h"
#include "constraint/json_grammar.h"
#include "constraint/regex_parser.h"

namespace bamba {
namespace {

/// Places that one automaton may look at, and how many of them count as one part of the grammar.
constexpr uint64_t kMaxWork = 1'000'000;
constexpr uint64_t kWorkOfPart = 8;

std::string spelled(std::string_view key) {
  const std::string quoted = Json(key).dump();
  return quoted.substr(1, quoted.size() - 2);
}

ExpressionId any_char(JsonGrammar& json) {
  return json.chars_in_string(CharSet(0, kLastCodePoint));
}

}  // namespace

KeyPatterns::KeyPatterns(const std::vector<std::string>& patterns, Grammar& grammar) : grammar_(grammar) {
  {
    Grammar keys;
    const RuleId rule = keys.add_rule("any key");
    JsonGrammar json(keys);
    keys.set_body(rule, keys.repeat(any_char(json), 0, kUnbounded));
    add(keys);
  }
  for (const std::string& pattern : patterns) {
    Grammar keys;
    const RuleId rule = keys.add_rule(pattern);
    JsonGrammar json(keys);
    const auto spell = [&json](const CharSet& set) { return json.chars_in_string(set); };
    keys.set_body(rule, parse_regex(pattern, keys, spell).somewhere(keys, any_char(json)));
    add(keys);
  }
}

Automaton& KeyPatterns::add(const Grammar& keys) {
  const auto program = std::make_shared<const Program>(keys, Program::ByteSet().set());
  grammar_.count_parts(program->node_count());
  automata_.push_back(std::make_unique<Automaton>(program));
  automata_.back()->allow_work(kMaxWork);
  return *automata_.back();
}

std::vector<size_t> KeyPatterns::matching(std::string_view key) {
  const std::string text = spelled(key);
  std::vector<size_t> out;
  for (size_t i = 1; i < automata_.size(); ++i) {
    StateId state = automata_[i]->start();
    for (const char c : text) state = automata_[i]->next(state, static_cast<uint8_t>(c));
    if (automata_[i]->accepts(state)) out.push_back(i - 1);
  }
  return out;
}

std::vector<KeyPatterns::Group> KeyPatterns::groups(const std::vector<std::string>& except) {
  const size_t patterns = automata_.size();  // and any key
  if (!except.empty()) {
    Grammar keys;
    const RuleId rule = keys.add_rule("listed keys");
    std::vector<std::string> words;
    words.reserve(except.size());
    for (const std::string& key : except) words.push_back(spelled(key));
    keys.set_body(rule, keys.words(std::move(words)));
    add(keys);
  }
  // All are walked at once; what a state of each says together is which patterns match.
  using States = std::array<StateId, kMaxPatterns + 2>;
  States start = {};
  for (size_t i = 0; i < automata_.size(); ++i) start[i] = automata_[i]->start();
  const auto step = [&](const States& from, uint8_t byte) -> std::optional<States> {
    States to = {};
    to[0] = automata_[0]->next(from[0], byte);
    if (to[0] == kDeadState) return {};
    for (size_t i = 1; i < automata_.size(); ++i) to[i] = automata_[i]->next(from[i], byte);
    return to;
  };
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<uint32_t> matched;  // [state] a bit for each pattern; kNone: no key, or one of `except`
  const auto note_matches = [&](const States& at) {
    const bool listed = patterns < automata_.size() && automata_[patterns]->accepts(at[patterns]);
    uint32_t bits = 0;
    for (size_t i = 1; i < patterns; ++i) bits |= uint32_t{automata_[i]->accepts(at[i])} << (i - 1);
    matched.push_back(listed || !automata_[0]->accepts(at[0]) ? kNone : bits);
    return false;
  };
  const ByteAutomaton all = explore(start, {}, step, note_matches);
  grammar_.count_parts(all.states.size());
  for (const auto& automaton : automata_) grammar_.count_parts(automaton->work() / kWorkOfPart);
  automata_.resize(patterns);

  std::map<uint32_t, ByteAutomaton> sets;
  for (const uint32_t bits : matched) {
    if (bits != kNone) sets.try_emplace(bits);
  }
  std::vector<Group> out;
  for (auto& [bits, keys] : sets) {
    keys = all;
    for (size_t i = 0; i < matched.size(); ++i) keys.states[i].accepts = matched[i] == bits;
    Group& group = out.emplace_back();
    for (size_t i = 0; i + 1 < patterns; ++i) {
      if ((bits >> i & 1) != 0) group.patterns.push_back(i);
    }
    group.key = grammar_.automaton(std::move(keys));
  }
  return out;
}

}  // namespace bamba
