#include "constraint/number_range.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace bamba {
namespace {

ExpressionId digit(Grammar& grammar, char low, char high) {
  return grammar.chars(CharSet(static_cast<uint32_t>(low), static_cast<uint32_t>(high)));
}

ExpressionId digits(Grammar& grammar, int64_t min, int64_t max) {
  return grammar.repeat(digit(grammar, '0', '9'), min, max);
}

/// As many digits as `low` has, not less than it; or not more than `high`.
ExpressionId digits_from(Grammar& grammar, std::string_view low) {
  if (low.empty()) return grammar.empty();
  const auto rest = static_cast<int64_t>(low.size()) - 1;
  if (low.find_first_not_of('0') == std::string_view::npos) return digits(grammar, rest + 1, rest + 1);
  std::vector<ExpressionId> choices = {
      grammar.sequence({digit(grammar, low[0], low[0]), digits_from(grammar, low.substr(1))})};
  if (low[0] < '9') {
    choices.push_back(
        grammar.sequence({digit(grammar, static_cast<char>(low[0] + 1), '9'), digits(grammar, rest, rest)}));
  }
  return grammar.choice(std::move(choices));
}

ExpressionId digits_to(Grammar& grammar, std::string_view high) {
  if (high.empty()) return grammar.empty();
  const auto rest = static_cast<int64_t>(high.size()) - 1;
  if (high.find_first_not_of('9') == std::string_view::npos) return digits(grammar, rest + 1, rest + 1);
  std::vector<ExpressionId> choices = {
      grammar.sequence({digit(grammar, high[0], high[0]), digits_to(grammar, high.substr(1))})};
  if (high[0] > '0') {
    choices.push_back(
        grammar.sequence({digit(grammar, '0', static_cast<char>(high[0] - 1)), digits(grammar, rest, rest)}));
  }
  return grammar.choice(std::move(choices));
}

/// Both have the same number of digits.
ExpressionId digits_between(Grammar& grammar, std::string_view low, std::string_view high) {
  if (low.empty()) return grammar.empty();
  if (low[0] == high[0]) {
    return grammar.sequence({digit(grammar, low[0], low[0]), digits_between(grammar, low.substr(1), high.substr(1))});
  }
  const auto rest = static_cast<int64_t>(low.size()) - 1;
  std::vector<ExpressionId> choices = {
      grammar.sequence({digit(grammar, low[0], low[0]), digits_from(grammar, low.substr(1))}),
      grammar.sequence({digit(grammar, high[0], high[0]), digits_to(grammar, high.substr(1))})};
  if (high[0] - low[0] > 1) {
    choices.push_back(grammar.sequence(
        {digit(grammar, static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)), digits(grammar, rest, rest)}));
  }
  return grammar.choice(std::move(choices));
}

ExpressionId natural_range(Grammar& grammar, uint64_t low, uint64_t high) {
  std::vector<ExpressionId> choices;
  uint64_t first = 0;  // the smallest number of as many digits as `last`, the largest
  uint64_t last = 9;
  while (true) {
    const uint64_t from = std::max(low, first);
    const uint64_t to = std::min(high, last);
    if (from <= to) choices.push_back(digits_between(grammar, std::to_string(from), std::to_string(to)));
    if (high <= last) break;
    first = last + 1;
    last = last * 10 + 9;
  }
  return grammar.choice(std::move(choices));
}

/// Digits behind the point, without trailing zeros.
std::string fraction_digits(uint64_t fraction) {
  std::string out = std::to_string(kDecimalUnit + fraction).substr(1);
  while (!out.empty() && out.back() == '0') out.pop_back();
  return out;
}

ExpressionId point(Grammar& grammar, ExpressionId behind) {
  return grammar.sequence({grammar.literal("."), behind});
}

ExpressionId any_fraction(Grammar& grammar) {
  return grammar.optional(point(grammar, digits(grammar, 1, kDecimalDigits)));
}

/// Digits behind the point that follow others: more than, or as much as, `low` says. Shorter ones end in zeros.
ExpressionId tail_from(Grammar& grammar, std::string_view low) {
  if (low.empty()) return digits(grammar, 0, kDecimalDigits);
  std::vector<ExpressionId> choices = {
      grammar.sequence({digit(grammar, low[0], low[0]), tail_from(grammar, low.substr(1))})};
  if (low[0] < '9') {
    choices.push_back(
        grammar.sequence({digit(grammar, static_cast<char>(low[0] + 1), '9'), digits(grammar, 0, kDecimalDigits)}));
  }
  return grammar.choice(std::move(choices));
}

ExpressionId tail_to(Grammar& grammar, std::string_view high, bool may_end) {
  const ExpressionId zero = digit(grammar, '0', '0');
  if (high.empty()) return grammar.repeat(zero, may_end ? 0 : 1, kDecimalDigits);
  std::vector<ExpressionId> choices = {
      grammar.sequence({digit(grammar, high[0], high[0]), tail_to(grammar, high.substr(1), true)})};
  if (high[0] > '0') {
    choices.push_back(
        grammar.sequence({digit(grammar, '0', static_cast<char>(high[0] - 1)), digits(grammar, 0, kDecimalDigits)}));
  }
  if (may_end) choices.push_back(grammar.empty());
  return grammar.choice(std::move(choices));
}

ExpressionId tail_between(Grammar& grammar, std::string_view low, std::string_view high, bool may_end) {
  if (low.empty()) return tail_to(grammar, high, may_end);
  if (low[0] == high[0]) {
    return grammar.sequence(
        {digit(grammar, low[0], low[0]), tail_between(grammar, low.substr(1), high.substr(1), true)});
  }
  std::vector<ExpressionId> choices = {
      grammar.sequence({digit(grammar, low[0], low[0]), tail_from(grammar, low.substr(1))}),
      grammar.sequence({digit(grammar, high[0], high[0]), tail_to(grammar, high.substr(1), true)})};
  if (high[0] - low[0] > 1) {
    choices.push_back(grammar.sequence({digit(grammar, static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)),
                                        digits(grammar, 0, kDecimalDigits)}));
  }
  return grammar.choice(std::move(choices));
}

/// Magnitudes: the signs are not looked at.
ExpressionId magnitude_range(Grammar& grammar, const Decimal& low, const Decimal& high) {
  const std::string from = fraction_digits(low.fraction);
  const std::string to = fraction_digits(high.fraction);
  const auto whole = [&](uint64_t value) { return grammar.literal(std::to_string(value)); };
  if (low.whole == high.whole) {
    const ExpressionId behind = point(grammar, tail_between(grammar, from, to, false));
    return grammar.sequence({whole(low.whole), from.empty() ? grammar.optional(behind) : behind});
  }
  const ExpressionId above = point(grammar, tail_from(grammar, from));
  const ExpressionId below = point(grammar, tail_to(grammar, to, false));
  std::vector<ExpressionId> choices = {
      grammar.sequence({whole(low.whole), from.empty() ? any_fraction(grammar) : above}),
      grammar.sequence({whole(high.whole), grammar.optional(below)})};
  if (high.whole - low.whole > 1) {
    choices.push_back(grammar.sequence({natural_range(grammar, low.whole + 1, high.whole - 1), any_fraction(grammar)}));
  }
  return grammar.choice(std::move(choices));
}

bool smaller_magnitude(const Decimal& a, const Decimal& b) {
  return a.whole != b.whole ? a.whole < b.whole : a.fraction < b.fraction;
}

void grow(Decimal& value) {
  if (++value.fraction < kDecimalUnit) return;
  value.fraction = 0;
  ++value.whole;
}

void shrink(Decimal& value) {
  if (value.fraction-- != 0) return;
  value.fraction = kDecimalUnit - 1;
  --value.whole;
}

}  // namespace

ExpressionId integer_range(Grammar& grammar, int64_t low, int64_t high) {
  std::vector<ExpressionId> choices;
  if (high >= 0) {
    choices.push_back(
        natural_range(grammar, static_cast<uint64_t>(std::max<int64_t>(low, 0)), static_cast<uint64_t>(high)));
  }
  if (low < 0) {
    choices.push_back(grammar.sequence(
        {grammar.literal("-"),
         natural_range(grammar, static_cast<uint64_t>(-std::min<int64_t>(high, -1)), static_cast<uint64_t>(-low))}));
  }
  return grammar.choice(std::move(choices));
}

bool operator<(const Decimal& a, const Decimal& b) {
  const bool a_negative = a.negative && !a.is_zero();
  const bool b_negative = b.negative && !b.is_zero();
  if (a_negative != b_negative) return a_negative;
  return a_negative ? smaller_magnitude(b, a) : smaller_magnitude(a, b);
}

Decimal next_up(Decimal value) {
  if (value.is_zero()) value.negative = false;
  value.negative ? shrink(value) : grow(value);
  return value;
}

Decimal next_down(Decimal value) {
  if (value.is_zero()) value.negative = true;
  value.negative ? grow(value) : shrink(value);
  return value;
}

ExpressionId decimal_range(Grammar& grammar, const Decimal& low, const Decimal& high) {
  const Decimal zero;
  std::vector<ExpressionId> choices;
  if (!(high < zero)) choices.push_back(magnitude_range(grammar, low < zero ? zero : low, high));
  if (low < zero) {  // no -0
    const Decimal nearest = high < zero ? high : next_down(zero);
    choices.push_back(grammar.sequence({grammar.literal("-"), magnitude_range(grammar, nearest, low)}));
  }
  return grammar.choice(std::move(choices));
}

}  // namespace bamba
