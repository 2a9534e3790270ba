#include <bamba/constraint.h>

#include "constraint/constraint_impl.h"
#include "constraint/grammar_parser.h"
#include "constraint/regex_parser.h"
#include "constraint/schema_compiler.h"

namespace bamba {
namespace {

/// An automaton larger than this makes way for a new one.
constexpr size_t kAutomatonBytes = size_t{48} << 20;
constexpr size_t kMaskBytes = size_t{64} << 20;
/// Places that one question may look at: about a second's work, for constraints made to be slow.
constexpr uint64_t kWorkOfOneMask = 20'000'000;

/// TokenVocabulary keeps its innards to itself; this shares their life.
std::shared_ptr<const TokenVocabulary::Impl> innards(const TokenVocabulary& vocabulary) {
  const auto keeper = std::make_shared<const TokenVocabulary>(vocabulary);
  return {keeper, &keeper->impl()};
}

}  // namespace

Constraint::Impl::Impl(const Grammar& grammar, const TokenVocabulary& tokens)
    : vocabulary(tokens),
      program(std::make_shared<const Program>(grammar, tokens.impl().single_bytes)),
      automaton(std::make_shared<Automaton>(program)),
      masks(innards(tokens), kMaskBytes) {}

void Constraint::Impl::prepare() const {
  if (automaton->bytes() > kAutomatonBytes) {
    automaton = std::make_shared<Automaton>(program);
    masks.clear();
  }
  automaton->allow_work(kWorkOfOneMask);
}

Constraint make_constraint(const Grammar& grammar, const TokenVocabulary& vocabulary) {
  return Constraint(std::make_shared<const Constraint::Impl>(grammar, vocabulary));
}

Constraint Constraint::regex(std::string_view pattern, const TokenVocabulary& vocabulary) {
  Grammar grammar;
  const RuleId root = grammar.add_rule("the regex");
  grammar.set_body(root, parse_regex(pattern, grammar).whole(grammar));
  return make_constraint(grammar, vocabulary);
}

Constraint Constraint::grammar(std::string_view text, const TokenVocabulary& vocabulary) {
  return make_constraint(parse_grammar(text), vocabulary);
}

Constraint Constraint::json_object(const TokenVocabulary& vocabulary) {
  return make_constraint(json_object_grammar(), vocabulary);
}

Constraint Constraint::json_schema(std::string_view schema, const TokenVocabulary& vocabulary) {
  return make_constraint(parse_json_schema(schema), vocabulary);
}

const TokenVocabulary& Constraint::vocabulary() const {
  return impl_->vocabulary;
}

bool Constraint::matches(std::string_view text) const {
  const std::lock_guard<std::mutex> guard(impl_->lock);
  impl_->prepare();
  StateId state = impl_->automaton->start();
  for (const char byte : text) state = impl_->automaton->next(state, static_cast<uint8_t>(byte));
  return impl_->automaton->accepts(state);
}

/// A state is good in its own automaton only, and holds on to it.
struct ConstraintState::Position {
  std::shared_ptr<Automaton> automaton;
  StateId state = kDeadState;
  bool accepts = false;
  bool goes_on = false;

  static std::shared_ptr<const Position> make(const std::shared_ptr<Automaton>& automaton, StateId state) {
    auto out = std::make_shared<Position>();
    out->automaton = automaton;
    out->state = state;
    out->accepts = automaton->accepts(state);
    out->goes_on = automaton->goes_on(state);
    return out;
  }
  /// Under the constraint's lock.
  static std::shared_ptr<const Position> current(const std::shared_ptr<const Position>& position,
                                                 const Constraint::Impl& constraint) {
    if (position->automaton == constraint.automaton) return position;
    return make(constraint.automaton, position->automaton->move_to(*constraint.automaton, position->state));
  }
};

ConstraintState::ConstraintState(const Constraint& constraint) : constraint_(constraint) {
  const Constraint::Impl& impl = *constraint_.impl();
  const std::lock_guard<std::mutex> guard(impl.lock);
  position_ = Position::make(impl.automaton, impl.automaton->start());
}

std::shared_ptr<const TokenMask> ConstraintState::mask() {
  const Constraint::Impl& impl = *constraint_.impl();
  if (finished_) return std::make_shared<const TokenMask>(impl.vocabulary.size());
  const std::lock_guard<std::mutex> guard(impl.lock);
  impl.prepare();
  position_ = Position::current(position_, impl);
  return impl.masks.find(*impl.automaton, position_->state);
}

bool ConstraintState::accept(int64_t token) {
  const Constraint::Impl& impl = *constraint_.impl();
  const TokenVocabulary::Impl& vocabulary = impl.vocabulary.impl();
  if (finished_ || token < 0) return false;
  if (vocabulary.is_eos(token)) return finished_ = position_->accepts;
  if (token >= static_cast<int64_t>(vocabulary.bytes.size())) return false;
  const std::string& bytes = vocabulary.bytes[static_cast<size_t>(token)];
  if (bytes.empty()) return false;
  const std::lock_guard<std::mutex> guard(impl.lock);
  impl.prepare();
  position_ = Position::current(position_, impl);
  StateId state = position_->state;
  for (const char byte : bytes) state = impl.automaton->next(state, static_cast<uint8_t>(byte));
  if (state == kDeadState) return false;
  position_ = Position::make(impl.automaton, state);
  return true;
}

bool ConstraintState::can_end() const {
  return !finished_ && position_->accepts;
}
bool ConstraintState::must_end() const {
  return can_end() && !position_->goes_on;
}

}  // namespace bamba
