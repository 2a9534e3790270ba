// Numbers: bounds, exclusive or not, as ranges of digits, and multiples within them.
#include <algorithm>
#include <charconv>
#include <optional>

#include "constraint/number_multiple.h"
#include "constraint/number_range.h"
#include "constraint/schema_parts.h"

namespace bamba {
namespace {

const Json* number_at(const SchemaPlace& place, const char* keyword) {
  if (!place.schema.contains(keyword)) return nullptr;
  const Json& value = place.schema[keyword];
  if (!value.is_number()) place.fail_at(keyword, "it should be a number");
  return &value;
}

/// Digits of a number, and how many of them are before the point: more or fewer than there are, with an exponent.
struct Digits {
  bool negative = false;
  std::string digits;
  int64_t whole = 0;

  /// Zeros go on without an end on both sides.
  uint64_t at(int64_t index) const {
    const bool written = index >= 0 && index < static_cast<int64_t>(digits.size());
    return written ? static_cast<uint64_t>(digits[static_cast<size_t>(index)] - '0') : 0U;
  }
};

Digits read_digits(const Json& value) {
  const std::string text = value.dump();  // the shortest digits that mean this number
  Digits out;
  int64_t point = -1;
  int64_t exponent = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '-' && i == 0) {
      out.negative = true;
    } else if (c == '.') {
      point = static_cast<int64_t>(out.digits.size());
    } else if (c == 'e' || c == 'E') {
      const char* begin = text.data() + i + 1;
      std::from_chars(*begin == '+' ? begin + 1 : begin, text.data() + text.size(), exponent);
      break;
    } else {
      out.digits += c;
    }
  }
  out.whole = (point < 0 ? static_cast<int64_t>(out.digits.size()) : point) + exponent;
  return out;
}

/// The bound as a decimal. What has more digits than the grid is rounded towards zero, and `rounded` says so.
/// Nothing for numbers too large to be a bound on what is written.
std::optional<Decimal> to_decimal(const Json& value, bool& rounded) {
  const Digits digits = read_digits(value);
  Decimal out;
  out.negative = digits.negative;
  for (int64_t i = std::min<int64_t>(0, digits.whole); i < digits.whole; ++i) {
    out.whole = out.whole * 10 + digits.at(i);
    if (out.whole >= kDecimalUnit) return {};
  }
  for (int64_t i = 0; i < kDecimalDigits; ++i) out.fraction = out.fraction * 10 + digits.at(digits.whole + i);
  rounded = false;
  const auto count = static_cast<int64_t>(digits.digits.size());
  for (int64_t i = std::max<int64_t>(0, digits.whole + kDecimalDigits); i < count; ++i) {
    rounded = rounded || digits.at(i) != 0;
  }
  return out;
}

struct Bounds {
  bool given = false;  ///< though perhaps too large to be of use: see below
  std::optional<Decimal> low;
  std::optional<Decimal> high;
};

Bounds read_bounds(const SchemaPlace& place) {
  Bounds out;
  for (const char* keyword : {"minimum", "exclusiveMinimum"}) {
    const Json* value = number_at(place, keyword);
    if (value == nullptr) continue;
    out.given = true;
    bool rounded = false;
    std::optional<Decimal> low = to_decimal(*value, rounded);
    if (!low) {
      if (*value > 0) place.fail_at(keyword, "no number of ", kDecimalDigits, " digits is as large");
      continue;
    }
    const bool exclusive = keyword[0] == 'e';
    if (rounded ? !low->negative : exclusive) low = next_up(*low);
    if (!out.low || *out.low < *low) out.low = low;
  }
  for (const char* keyword : {"maximum", "exclusiveMaximum"}) {
    const Json* value = number_at(place, keyword);
    if (value == nullptr) continue;
    out.given = true;
    bool rounded = false;
    std::optional<Decimal> high = to_decimal(*value, rounded);
    if (!high) {
      if (*value < 0) place.fail_at(keyword, "no number of ", kDecimalDigits, " digits is as small");
      continue;
    }
    const bool exclusive = keyword[0] == 'e';
    if (rounded ? high->negative : exclusive) high = next_down(*high);
    if (!out.high || *high < *out.high) out.high = high;
  }
  if (out.low && out.high && *out.high < *out.low) place.fail_at("minimum", "no number is within the bounds");
  return out;
}

/// The value of multipleOf; nothing where it is not given.
std::optional<DecimalStep> read_multiple(const SchemaPlace& place) {
  const Json* value = number_at(place, "multipleOf");
  if (value == nullptr) return {};
  Digits digits = read_digits(*value);
  std::string& text = digits.digits;
  const size_t leading = std::min(text.find_first_not_of('0'), text.size());
  text.erase(0, leading);
  digits.whole -= static_cast<int64_t>(leading);
  while (!text.empty() && text.back() == '0') text.pop_back();
  if (text.empty() || digits.negative) place.fail_at("multipleOf", "it should be a number above 0");
  DecimalStep out;
  out.shift = static_cast<int>(digits.whole - static_cast<int64_t>(text.size()));
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out.digits);
  if (error != std::errc() || out.digits > DecimalStep::kMaxDigits || -out.shift > kDecimalDigits) {
    place.fail_at("multipleOf", value->dump(), " has too many digits: without the point, and without the zeros at ",
                  "either end, they may come to ", DecimalStep::kMaxDigits, " at most, and ", kDecimalDigits,
                  " of them may be behind the point");
  }
  return out;
}

/// The multiples of a step among what `write` adds to a grammar.
ExpressionId multiples(const SchemaPlace& place, const DecimalStep& step, Grammar& grammar,
                       FunctionRef<ExpressionId(Grammar&)> write) {
  Grammar range;
  const RuleId rule = range.add_rule("the numbers within the bounds");
  range.set_body(rule, write(range));
  std::optional<ExpressionId> out;
  try {
    out = multiples_within(grammar, step, range);
  } catch (const Error& error) {
    place.fail_at("multipleOf", error.what());
  }
  if (!out) place.fail_at("multipleOf", "no multiple of ", place.schema["multipleOf"].dump(), " is within the bounds");
  return *out;
}

}  // namespace

ExpressionId compile_integer(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json) {
  const std::optional<DecimalStep> step = read_multiple(place);
  const bool all = !step || (step->digits == 1 && step->shift <= 0);
  const Bounds bounds = read_bounds(place);
  if (!bounds.given) {
    if (all) return json.integer();
    return multiples(place, *step, grammar, [](Grammar& range) { return JsonGrammar(range).integer(); });
  }
  // No larger numbers, then, than bounds are read to.
  constexpr auto kLargest = static_cast<int64_t>(kDecimalUnit - 1);
  int64_t low = -kLargest;
  int64_t high = kLargest;
  if (bounds.low) {  // rounded up
    const auto whole = static_cast<int64_t>(bounds.low->whole);
    low = bounds.low->negative ? -whole : whole + (bounds.low->fraction != 0 ? 1 : 0);
  }
  if (bounds.high) {  // rounded down
    const auto whole = static_cast<int64_t>(bounds.high->whole);
    high = bounds.high->negative ? -whole - (bounds.high->fraction != 0 ? 1 : 0) : whole;
  }
  if (high < low) place.fail_at("minimum", "no integer is within the bounds");
  if (all) return integer_range(grammar, low, high);
  return multiples(place, *step, grammar, [&](Grammar& range) { return integer_range(range, low, high); });
}

ExpressionId compile_number(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json) {
  const std::optional<DecimalStep> step = read_multiple(place);
  const Bounds bounds = read_bounds(place);
  if (!bounds.given && !step) return json.number();
  const Decimal low = bounds.low.value_or(Decimal{true, kDecimalUnit - 1, kDecimalUnit - 1});
  const Decimal high = bounds.high.value_or(Decimal{false, kDecimalUnit - 1, kDecimalUnit - 1});
  if (!step) return decimal_range(grammar, low, high);
  return multiples(place, *step, grammar, [&](Grammar& range) { return decimal_range(range, low, high); });
}

}  // namespace bamba
