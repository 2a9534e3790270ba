// Numbers between two bounds, as digits.
#pragma once

#include <cstdint>
#include <optional>

#include "constraint/grammar.h"

namespace bamba {

/// Integers from low to high, both of 18 digits at most, low <= high.
ExpressionId integer_range(Grammar& grammar, int64_t low, int64_t high);

/// Whole and fraction have kDecimalDigits digits each at most; fraction counts units of 10^-kDecimalDigits.
constexpr int kDecimalDigits = 16;
constexpr uint64_t kDecimalUnit = 10'000'000'000'000'000;
struct Decimal {
  bool negative = false;
  uint64_t whole = 0;
  uint64_t fraction = 0;

  bool is_zero() const { return whole == 0 && fraction == 0; }
};
bool operator<(const Decimal& a, const Decimal& b);
/// The next larger (smaller) one on the grid of kDecimalDigits digits.
Decimal next_up(Decimal value);
Decimal next_down(Decimal value);

/// Decimal numbers without an exponent from low to high, low <= high.
ExpressionId decimal_range(Grammar& grammar, const Decimal& low, const Decimal& high);

}  // namespace bamba
