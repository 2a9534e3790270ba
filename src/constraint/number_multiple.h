// Numerals of multiples: what is left of a range of numbers when each must be a whole number of steps.
#pragma once

#include <cstdint>
#include <optional>

#include "constraint/grammar.h"

namespace bamba {

/// digits * 10^shift: 2.5 is 25 and -1, 3600 is 36 and 2.
struct DecimalStep {
  uint32_t digits = 1;  ///< 1 to kMaxDigits, no multiple of 10
  int shift = 0;

  /// An automaton has a state for each remainder and each place that a digit may have.
  static constexpr uint32_t kMaxDigits = 4096;
};

/// The multiples of `step` among the numerals that `range` matches: decimal ones without an exponent. They have at most
/// as many digits behind the point as the step has. Nothing where none of them is a multiple. Throws
/// Error(invalid_argument) when the grammar grows too large.
std::optional<ExpressionId> multiples_within(Grammar& grammar, const DecimalStep& step, const Grammar& range);

}  // namespace bamba
