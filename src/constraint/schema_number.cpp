// Numbers: bounds, exclusive or not, as ranges of digits.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

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

/// The bound as a decimal. What has more digits than the grid is rounded towards zero, and `rounded` says so.
/// Nothing for numbers too large to be a bound on what is written.
std::optional<Decimal> to_decimal(const Json& value, bool& rounded) {
  const std::string text = value.dump();  // the shortest digits that mean this number
  Decimal out;
  std::string digits;
  int64_t point = -1;
  int64_t exponent = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '-' && i == 0) {
      out.negative = true;
    } else if (c == '.') {
      point = static_cast<int64_t>(digits.size());
    } else if (c == 'e' || c == 'E') {
      const char* begin = text.data() + i + 1;
      std::from_chars(*begin == '+' ? begin + 1 : begin, text.data() + text.size(), exponent);
      break;
    } else {
      digits += c;
    }
  }
  const int64_t whole_digits = (point < 0 ? static_cast<int64_t>(digits.size()) : point) + exponent;
  const auto digit_at = [&](int64_t index) {
    return index >= 0 && index < static_cast<int64_t>(digits.size())
               ? static_cast<uint64_t>(digits[static_cast<size_t>(index)] - '0')
               : 0U;
  };
  for (int64_t i = std::min<int64_t>(0, whole_digits); i < whole_digits; ++i) {
    out.whole = out.whole * 10 + digit_at(i);
    if (out.whole >= kDecimalUnit) return {};
  }
  for (int64_t i = 0; i < kDecimalDigits; ++i) out.fraction = out.fraction * 10 + digit_at(whole_digits + i);
  rounded = false;
  for (int64_t i = std::max<int64_t>(0, whole_digits + kDecimalDigits); i < static_cast<int64_t>(digits.size()); ++i) {
    rounded = rounded || digits[static_cast<size_t>(i)] != '0';
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

void check_multiple(const SchemaPlace& place, bool integer) {
  const Json* value = number_at(place, "multipleOf");
  if (value == nullptr || (integer && *value == 1)) return;
  place.fail_at("multipleOf", "only 1 is supported, and for integers only");
}

}  // namespace

ExpressionId compile_integer(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json) {
  check_multiple(place, true);
  const Bounds bounds = read_bounds(place);
  if (!bounds.given) return json.integer();
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
  return integer_range(grammar, low, high);
}

ExpressionId compile_number(const SchemaPlace& place, Grammar& grammar, JsonGrammar& json) {
  check_multiple(place, false);
  const Bounds bounds = read_bounds(place);
  if (!bounds.given) return json.number();
  const Decimal largest{false, kDecimalUnit - 1, kDecimalUnit - 1};
  const Decimal smallest{true, kDecimalUnit - 1, kDecimalUnit - 1};
  return decimal_range(grammar, bounds.low.value_or(smallest), bounds.high.value_or(largest));
}

}  // namespace bamba
