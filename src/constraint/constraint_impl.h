// The innards of Constraint: the program, and behind a lock what is found out about it on the way.
#pragma once

#include <bamba/constraint.h>

#include <memory>
#include <mutex>

#include "constraint/automaton.h"
#include "constraint/grammar.h"
#include "constraint/program.h"
#include "constraint/token_masks.h"

namespace bamba {

struct Constraint::Impl {
  Impl(const Grammar& grammar, const TokenVocabulary& vocabulary);

  TokenVocabulary vocabulary;
  std::shared_ptr<const Program> program;

  mutable std::mutex lock;
  /// Behind the lock. Replaced when it has grown large; states of the old one move over when they are next used.
  mutable std::shared_ptr<Automaton> automaton;
  mutable TokenMasks masks;

  /// Under the lock: readies the automaton for one question more.
  void prepare() const;
};

/// What a maker of grammars makes a Constraint of.
Constraint make_constraint(const Grammar& grammar, const TokenVocabulary& vocabulary);

}  // namespace bamba
