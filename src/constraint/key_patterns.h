// The keys of an object, told apart by which of several patterns they match.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "constraint/automaton.h"
#include "constraint/byte_automaton.h"
#include "constraint/grammar.h"

namespace bamba {

/// Keys are looked at as JSON spells them between the quotes, with escapes only where they must be and in the shortest
/// form: so each has one spelling.
class KeyPatterns {
 public:
  static constexpr size_t kMaxPatterns = 8;

  /// Patterns match anywhere in a key unless they are anchored; kMaxPatterns at most. What they take counts as parts of
  /// `grammar`. Throws Error(invalid_argument) for what is no regular expression, and for what takes too much.
  KeyPatterns(const std::vector<std::string>& patterns, Grammar& grammar);

  /// The patterns, by index, that match this key.
  std::vector<size_t> matching(std::string_view key);

  struct Group {
    std::vector<size_t> patterns;  ///< all that match these keys
    ExpressionId key = 0;          ///< between the quotes
  };
  /// All keys but `except`, one group for each set of patterns that some of them match; the set may be empty. Throws
  /// Error(invalid_argument) for what takes too much.
  std::vector<Group> groups(const std::vector<std::string>& except);

 private:
  Automaton& add(const Grammar& keys);

  Grammar& grammar_;
  std::vector<std::unique_ptr<Automaton>> automata_;  // any key, then the patterns
};

}  // namespace bamba
