// multipleOf: what is accepted is compared, text by text, with arithmetic on whole numbers.
#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include "base/str.h"
#include "constraint/vocabularies.h"
#include "support/error.h"

namespace bamba::test {
namespace {

/// Numbers here are counted in millionths.
constexpr int kPlaces = 6;
constexpr int64_t kOne = 1'000'000;

/// The shortest numeral.
std::string numeral(int64_t millionths) {
  const int64_t size = std::abs(millionths);
  std::string out = str(millionths < 0 ? "-" : "", size / kOne);
  std::string fraction = std::to_string(kOne + size % kOne).substr(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return fraction.empty() ? out : out + "." + fraction;
}

struct Multiples {
  bool integer = false;
  int64_t step = kOne;
  std::optional<int64_t> low;
  std::optional<int64_t> high;
  bool strict = false;

  std::string text() const {
    std::string out = str(R"({"type":")", integer ? "integer" : "number", R"(","multipleOf":)", numeral(step));
    if (low) out += str(strict ? R"(,"exclusiveMinimum":)" : R"(,"minimum":)", numeral(*low));
    if (high) out += str(strict ? R"(,"exclusiveMaximum":)" : R"(,"maximum":)", numeral(*high));
    return out + "}";
  }

  int step_places() const {
    int places = kPlaces;
    for (int64_t left = step; places > 0 && left % 10 == 0; left /= 10) --places;
    return integer ? 0 : places;
  }

  /// What the documentation promises, for numerals of few digits.
  bool accepts(const std::string& candidate) const {
    static const std::regex form("(-?)(0|[1-9][0-9]*)(?:\\.([0-9]+))?");
    std::smatch parts;
    if (!std::regex_match(candidate, parts, form)) return false;
    std::string fraction = parts[3];
    if (static_cast<int>(fraction.size()) > step_places()) return false;
    fraction.resize(kPlaces, '0');
    const int64_t size = std::stoll(parts[2]) * kOne + std::stoll(fraction);
    const bool negative = parts[1].length() > 0;
    if (negative && size == 0) return false;
    const int64_t value = negative ? -size : size;
    if (low && (strict ? value <= *low : value < *low)) return false;
    if (high && (strict ? value >= *high : value > *high)) return false;
    return value % step == 0;
  }
};

/// All texts of at most `length` of these characters.
template <typename Visit>
void for_each_text(const std::string& characters, size_t length, const std::string& begin, const Visit& visit) {
  visit(begin);
  if (begin.size() == length) return;
  for (const char c : characters) for_each_text(characters, length, begin + c, visit);
}

TEST(NumberMultiple, AcceptsExactlyTheMultiplesAmongAllShortTexts) {
  const std::vector<Multiples> cases = {
      {true, 5 * kOne, {}, {}},
      {true, 7 * kOne, -50 * kOne, 1203 * kOne},
      {true, 7 * kOne, -49 * kOne, 1204 * kOne, true},
      {true, 1000 * kOne, {}, {}},
      {true, 120 * kOne, 120 * kOne, {}},
      {true, 997 * kOne, {}, 2000 * kOne},
      {true, 2'500'000, {}, {}},
      {true, 500'000, -3 * kOne, 12 * kOne},
      {true, 4096 * kOne, {}, {}},
      {false, kOne, -1'500'000, 11 * kOne},
      {false, 10'000, {}, {}},
      {false, 10'000, -990'000, 990'000, true},
      {false, 500'000, {}, {}},
      {false, 250'000, -250'000, 30 * kOne},
      {false, 2'500'000, {}, {}},
      {false, 2'500'000, -10 * kOne, 7'500'000, true},
      {false, 125'000, 0, {}},
      {false, 70'000, -700'000, 12'340'000},
      {false, 30 * kOne, -60 * kOne, {}, true},
      {false, 1, 0, 20},
  };
  for (const Multiples& item : cases) {
    SCOPED_TRACE(item.text());
    const Constraint constraint = schema(item.text());
    int accepted = 0;
    for_each_text("-.0123456789", 4, "", [&](const std::string& text) {
      const bool expected = item.accepts(text);
      accepted += expected ? 1 : 0;
      if (constraint.matches(text) != expected) {
        ADD_FAILURE() << text << " should be " << (expected ? "accepted" : "refused");
      }
    });
    EXPECT_GT(accepted, 0);
  }
  const Multiples prices{false, 50'000, -20 * kOne, 150 * kOne};
  const Constraint constraint = schema(prices.text());
  for_each_text("-.01259", 6, "", [&](const std::string& text) {
    if (constraint.matches(text) != prices.accepts(text)) ADD_FAILURE() << text << " for " << prices.text();
  });
}

TEST(NumberMultiple, RandomStepsAndBounds) {
  std::mt19937 random(21);
  const auto below = [&](int64_t end) { return static_cast<int64_t>(random() % static_cast<uint64_t>(end)); };
  int empty = 0;
  for (int round = 0; round < 150; ++round) {
    SCOPED_TRACE(round);
    Multiples item;
    item.integer = round % 3 == 0;
    item.step = 1 + below(round % 2 == 0 ? 40 : 999);
    for (int64_t places = item.integer ? kPlaces + below(2) : below(kPlaces + 2); places > 0; --places) item.step *= 10;
    item.strict = round % 5 < 2;
    const int64_t middle = (below(41) - 20) * item.step + below(item.step);
    if (round % 4 != 1) item.low = middle - below(12 * item.step);
    if (round % 4 != 2) item.high = middle + 1 + below(12 * item.step);
    if (item.integer && round % 2 == 0) {
      if (item.low) *item.low -= *item.low % kOne;
      if (item.high) *item.high += kOne - *item.high % kOne;
    }
    SCOPED_TRACE(item.text());
    std::vector<int64_t> near;  // multiples and bounds, and what is beside them
    for (int64_t i = -40; i <= 40; ++i) near.push_back(i * item.step);
    for (const auto& bound : {item.low, item.high}) {
      if (!bound) continue;
      near.push_back(*bound);
      const int64_t down = *bound - *bound % item.step;
      for (int64_t i = -2; i <= 2; ++i) near.push_back(down + i * item.step);
    }
    std::vector<std::string> texts;
    for (const int64_t value : near) {
      const int64_t unit = item.integer ? kOne : 1;
      for (const int64_t beside : {value, value - unit, value + unit, value + 10 * unit, -value}) {
        std::string text = numeral(beside);
        texts.push_back(text);
        text += text.find('.') == std::string::npos ? ".0" : "0";
        texts.push_back(text);
        texts.push_back(text + "0");
      }
    }
    bool any = false;
    for (const std::string& text : texts) any = any || item.accepts(text);
    if (!any) {
      ++empty;
      expect_error(ErrorCode::invalid_argument, {"no "}, [&] { schema(item.text()); });
      continue;
    }
    const Constraint constraint = schema(item.text());
    for (const std::string& text : texts) ASSERT_EQ(constraint.matches(text), item.accepts(text)) << text;
    for (int i = 0; i < 5; ++i) {
      const auto made = random_text(constraint, random, 3 + i);
      ASSERT_TRUE(made);
      // Longer numerals than millionths can count are for the schema's own digits.
      if (made->size() < 12) {
        ASSERT_TRUE(item.accepts(*made)) << *made;
      }
    }
  }
  EXPECT_LT(empty, 30);
}

TEST(NumberMultiple, LongNumerals) {
  const Constraint cents = schema(R"({"type":"number","multipleOf":0.01})");
  EXPECT_TRUE(cents.matches("9999999999999999.99"));
  EXPECT_FALSE(cents.matches("10000000000000000"));
  EXPECT_FALSE(cents.matches("1e3")) << "no exponents, as between bounds";
  EXPECT_FALSE(cents.matches("1.000"));
  EXPECT_TRUE(schema(R"({"type":"integer","multipleOf":997})").matches("999999999999999271"));
  EXPECT_FALSE(schema(R"({"type":"integer","multipleOf":997})").matches("999999999999999272"));
  EXPECT_TRUE(schema(R"({"type":"number","multipleOf":1e-16})").matches("-3.0000000000000001"));
  EXPECT_TRUE(schema(R"({"type":"integer","multipleOf":3e15})").matches("-9000000000000000"));
  EXPECT_FALSE(schema(R"({"type":"integer","multipleOf":3e15})").matches("900000000000000"));
  // Nothing but zero is a multiple of what no numeral is as large as.
  EXPECT_TRUE(schema(R"({"type":"integer","multipleOf":1e300})").matches("0"));
  EXPECT_FALSE(schema(R"({"type":"integer","multipleOf":1e300})").matches("100000000000000000"));
  EXPECT_TRUE(schema(R"({"type":"integer","multipleOf":1})").matches("123456789012345678"));
  EXPECT_TRUE(schema(R"({"type":"integer","multipleOf":0.2})").matches("123456789012345678"));
}

TEST(NumberMultiple, ErrorsNameThePlaceAndWhatIsAccepted) {
  const auto refused = [](const char* number, const char* word, const char* another = "") {
    SCOPED_TRACE(number);
    expect_error(ErrorCode::invalid_argument, {"#/properties/a, keyword \"multipleOf\"", word, another},
                 [&] { schema(str(R"({"properties":{"a":)", number, "}}")); });
  };
  refused(R"({"multipleOf":0})", "above 0");
  refused(R"({"multipleOf":-2})", "above 0");
  refused(R"({"multipleOf":"2"})", "number");
  refused(R"({"type":"integer","multipleOf":4097})", "4097", "4096 at most");
  refused(R"({"multipleOf":3.14159})", "3.14159", "4096 at most");
  refused(R"({"multipleOf":1e-17})", "1e-17", "16 of them");
  refused(R"({"multipleOf":99999999999999999999999})", "4096 at most");
  refused(R"({"type":"integer","multipleOf":7,"minimum":8,"maximum":13})", "no multiple of 7 is within the bounds");
  refused(R"({"type":"number","multipleOf":0.5,"exclusiveMinimum":0.5,"exclusiveMaximum":1})", "no multiple of 0.5");
  refused(R"({"type":"number","multipleOf":0.01,"minimum":0.001,"maximum":0.009})", "no multiple of 0.01");
  expect_error(ErrorCode::invalid_argument, {"multipleOf", "both hold"},
               [] { schema(R"({"allOf":[{"multipleOf":2},{"multipleOf":3}]})"); });
}

TEST(NumberMultiple, WhatManyMultiplesTakeIsBounded) {
  const auto refused = [](const char* step, const char* word) {
    SCOPED_TRACE(step);
    std::string many = R"({"properties":{)";
    for (int i = 0; i < 4000; ++i) {
      many += str(i > 0 ? "," : "", "\"p", i, R"(":{"multipleOf":)", step, R"(,"minimum":)", i, "}");
    }
    expect_error(ErrorCode::invalid_argument, {word}, [&] { schema(many + "}}"); });
  };
  refused("4093", "automata have more than");
  refused("1", "more than 524288 parts");  // of the ranges, which are gone when the multiples are there
}

}  // namespace
}  // namespace bamba::test
