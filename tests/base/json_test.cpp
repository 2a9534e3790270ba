// What the JSON reader takes, what it refuses, and that its messages stay short and printable.
#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/str.h"
#include "support/error.h"
#include "support/temp_folder.h"

namespace bamba {
namespace {

using test::expect_error;

Json parse(std::string_view text, JsonLimits limits = {}) {
  return parse_json(text, "some.json", ErrorCode::invalid_file, limits);
}

std::string nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
}

TEST(Json, ParsesEveryKindOfValueInOrder) {
  const std::string text = R"({"b":[1,-2,3.5,true,false,null],"a":{"x":"é\n\u00e9","":{}},"c":[]})";
  const Json value = parse(text);
  EXPECT_EQ(value, Json::parse(text));
  EXPECT_EQ(value.dump(), R"({"b":[1,-2,3.5,true,false,null],"a":{"x":"é\né","":{}},"c":[]})");
  EXPECT_EQ(parse("3"), 3);
  EXPECT_EQ(parse(" \"x\" "), "x");
}

TEST(Json, ReadsPythonsNonFiniteNumbers) {
  const Json value = parse(R"([NaN, Infinity, -Infinity, "NaN Infinity \" -Infinity", 1])");
  EXPECT_TRUE(std::isnan(json_number(value[0])));
  EXPECT_EQ(json_number(value[1]), std::numeric_limits<double>::infinity());
  EXPECT_EQ(json_number(value[2]), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(value[3], "NaN Infinity \" -Infinity");
  EXPECT_EQ(json_number(value[4]), 1.0);
  EXPECT_EQ(parse(R"({"__float__": "Infinity"})"), parse("Infinity"));
  for (const double number : {1.5, -0.0, std::numeric_limits<double>::infinity(),
                              -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::max()}) {
    EXPECT_EQ(json_number(parse(json_from_number(number).dump())), number);
  }
  EXPECT_TRUE(std::isnan(json_number(json_from_number(std::nan("")))));
}

TEST(Json, NumbersAreOnlyNumbers) {
  EXPECT_TRUE(is_json_number(parse("1")));
  EXPECT_TRUE(is_json_number(parse(R"({"__float__": "NaN"})")));
  for (const char* text : {"\"1\"", "null", "true", "[]", "{}", R"({"__float__": "1"})", R"({"__float__": 1})",
                           R"({"__float__": "NaN", "more": 1})"}) {
    EXPECT_FALSE(is_json_number(parse(text))) << text;
  }
}

TEST(Json, RefusesWrongSyntaxByPlace) {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\":}", "{a:1}", "[1] [2]", "nul", "1NaN", "[Inf]", "01",
                           "\"\\x\"", "\"tab\there\"", "// comment\n1", "1e999", "InfinityNaN"}) {
    SCOPED_TRACE(text);
    expect_error(ErrorCode::invalid_file, {"some.json", "not valid JSON at byte"}, [&] { parse(text); });
  }
  expect_error(ErrorCode::invalid_file, {"at byte 8"}, [] { parse("[1, 2, x]"); });
  expect_error(ErrorCode::invalid_config, {}, [] { parse_json("[", "x", ErrorCode::invalid_config); });
}

TEST(Json, RefusesWhatHidesBehindNul) {
  expect_error(ErrorCode::invalid_file, {"some.json", "NUL", "byte 2"}, [] { parse(std::string_view("{}\0[", 4)); });
}

TEST(Json, RefusesInvalidUtf8AndKeepsMessagesPrintable) {
  for (const char* bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    try {
      parse(str("[\"", bad, "\"]"));
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_file);
      EXPECT_NO_THROW(static_cast<void>(Json(error.what()).dump())) << "the message is not UTF-8";
    }
  }
}

TEST(Json, MessagesDoNotGrowWithTheText) {
  try {
    parse("\"" + std::string(100000, 'x'));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 400U);
  }
}

TEST(Json, RefusesAKeyTwice) {
  expect_error(ErrorCode::invalid_file, {"some.json", "\"a\"", "twice"}, [] { parse(R"({"a":1,"b":2,"a":3})"); });
  expect_error(ErrorCode::invalid_file, {"\"a\""}, [] { parse(R"([{"x":{"a":1,"\u0061":2}}])"); });
  expect_error(ErrorCode::invalid_file, {"\"a\\x1b\""}, [] { parse(R"({"a\u001b":1,"a\u001b":2})"); });
  EXPECT_NO_THROW(parse(R"([{"a":1},{"a":1,"b":{"a":2}}])"));
}

TEST(Json, LimitsNesting) {
  EXPECT_NO_THROW(parse(nested(64)));
  expect_error(ErrorCode::invalid_file, {"some.json", "deeper than 64"}, [] { parse(nested(65)); });
  expect_error(ErrorCode::invalid_file, {"deeper than 64"}, [] { parse(nested(1000000)); });
  expect_error(ErrorCode::invalid_file, {"deeper than 2"}, [] { parse(R"({"a":[{}]})", {.max_depth = 2}); });
  EXPECT_NO_THROW(parse(R"([[],[],{"a":[]}])", {.max_depth = 3}));
}

// A look-up in an ordered object walks it: 200,000 keys would take 2e10 comparisons, minutes instead of a blink, and
// the test program's own limit would end it.
TEST(Json, BigObjectsAreReadInLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += (i ? ",\"key" : "\"key") + std::to_string(i) + "\":" + std::to_string(i);
  const Json value = parse(text + "}");
  EXPECT_EQ(value.size(), 200000U);
  EXPECT_EQ(value.back(), 199999);
}

TEST(Json, FilesHaveABound) {
  const test::TempFolder folder;
  const auto path = folder.put("x.json", "[1, 2]");
  EXPECT_EQ(parse_json_file(path, ErrorCode::invalid_config).size(), 2U);
  expect_error(ErrorCode::invalid_file, {"x.json", "6 bytes", "at most 5"},
               [&] { parse_json_file(path, ErrorCode::invalid_config, 5); });
  folder.put("x.json", "[1, 2");
  expect_error(ErrorCode::invalid_config, {"x.json"}, [&] { parse_json_file(path, ErrorCode::invalid_config); });
}

TEST(Printable, EscapesAndShortens) {
  EXPECT_EQ(quote("model.layers.0"), "\"model.layers.0\"");
  EXPECT_EQ(printable("é€😀"), "é€😀");
  EXPECT_EQ(printable(std::string_view("a\0\x1b[31m\x7f", 8)), "a\\x00\\x1b[31m\\x7f");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc2\x85"), "\\xc2\\x85");                    // a control character of two bytes
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(printable("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");           // overlong
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // past U+10FFFF
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("abcdé", 5), "abcd...");  // never half a character
}

}  // namespace
}  // namespace bamba
