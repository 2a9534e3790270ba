// Constraint::json_schema and json_object: what comes out is JSON, and valid; what is valid and written as promised
// goes in.
#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/str.h"
#include "constraint/schema_validator.h"
#include "constraint/vocabularies.h"
#include "support/error.h"
#include "support/warnings.h"

namespace bamba::test {
namespace {

const std::vector<std::string>& schemas() {
  static const std::vector<std::string> all = {
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"]})",
      R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"boolean"},"c":{"type":"number"}}})",
      R"({"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":{"type":"integer"}})",
      R"({"type":"object","properties":{"a":{"type":"string"},"ab":{"type":"null"}},"additionalProperties":true})",
      R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["b"],
          "additionalProperties":false})",
      R"({"type":"object","required":["x"]})",
      R"({"type":"object","patternProperties":{"^[a-z]+_id$":{"type":"integer"},"^x":{"type":"string"}}})",
      R"({"properties":{"a":{"type":"string"}},"required":["a"],"patternProperties":{"^a":{"maxLength":4},"b$":true},
          "additionalProperties":{"type":"null"}})",
      R"({"type":"object","properties":{"é\"\n":{"type":"integer"}},"required":["é\"\n"]})",
      R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":4})",
      R"({"type":"array","items":{"type":"string"}})",
      R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"boolean"}})",
      R"({"type":"array","prefixItems":[{"type":"null"},{"type":"integer"}],"items":false,"minItems":1})",
      R"({"type":"array","minItems":3,"prefixItems":[{"const":"x"}],"maxItems":3})",
      R"({"type":"array","maxItems":0})",
      R"({"type":"array","items":{"enum":["a","b",1,null,true,2]},"uniqueItems":true})",
      R"({"enum":["red","green","re",1,2.5,null,true,{"a":[1,"b"]},[]]})",
      R"({"type":"string","enum":["a","b",1]})",
      R"({"const":{"k":[1,2,{"z":"é"}],"e":{}}})",
      R"({"type":["string","null","integer"]})",
      R"({"anyOf":[{"type":"string","maxLength":3},{"type":"integer","minimum":100}]})",
      R"({"oneOf":[{"type":"object","properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind"]},
                   {"type":"object","properties":{"kind":{"const":"b"},"y":{"type":"string"}},"required":["kind"]}]})",
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},
          "anyOf":[{"required":["a"]},{"required":["b"]}]})",
      R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
                   {"properties":{"b":{"type":"string"},"a":{"minimum":5}}}]})",
      R"({"allOf":[{"type":"object","properties":{"a":true,"b":true},"additionalProperties":false},
                   {"properties":{"b":{"type":"null"},"c":{"type":"integer"}}}]})",
      R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},
          {"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"})",
      R"({"type":"array","items":{"$ref":"#"},"maxItems":2})",
      R"({"definitions":{"p/q":{"type":"string","minLength":1}},"type":"object",
          "properties":{"x":{"$ref":"#/definitions/p~1q","description":"d"}},"required":["x"]})",
      R"({"$defs":{"base":{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}},
          "$ref":"#/$defs/base","properties":{"extra":{"type":"boolean"}}})",
      R"({"type":"string","minLength":2,"maxLength":5})",
      R"({"type":"string","minLength":3})",
      R"({"type":"string","pattern":"^[a-c]+\\d{2,3}$"})",

      R"({"type":"string","pattern":"^(\"|\\t|x)*$"})",
      R"({"type":"integer","minimum":-17,"maximum":123})",
      R"({"type":"integer","exclusiveMinimum":99,"exclusiveMaximum":1001})",
      R"({"type":"integer","maximum":-5})",
      R"({"type":"integer","minimum":1.5,"maximum":2.5})",
      R"({"type":"integer","maximum":9223372036854775807})",
      R"({"type":"number","minimum":0,"maximum":1})",
      R"({"type":"number","exclusiveMinimum":-0.25,"maximum":12.375})",
      R"({"type":"number","minimum":3.14159})",
      R"({"type":"number","exclusiveMaximum":-1e-7})",
      R"({"type":"number"})",
      R"({"type":"integer","multipleOf":12})",
      R"({"type":"integer","multipleOf":25,"minimum":-1000,"exclusiveMaximum":4000})",
      R"({"type":"number","multipleOf":0.01,"minimum":-2,"maximum":250})",
      R"({"type":"number","multipleOf":2.5})",
      R"({"properties":{"deep":{"properties":{"deeper":{"items":{"minimum":3}}}}}})",
      R"({"type":"object","properties":{"tags":{"type":"array","items":{"type":"object","properties":
          {"k":{"type":"string"}},"required":["k"],"additionalProperties":false},"minItems":1}},"required":["tags"]})",
      "true",
      "{}",
      R"({"title":"anything","description":"at all"})",
  };
  return all;
}

TEST(JsonSchema, RandomTextsAreValid) {
  std::mt19937 random(3);
  for (const std::string& text : schemas()) {
    SCOPED_TRACE(text);
    const Constraint constraint = schema(text);
    const SchemaValidator validator(nlohmann::json::parse(text));
    int found = 0;
    for (int i = 0; i < 40; ++i) {
      const auto made = random_text(constraint, random, 5 + i);
      if (!made) continue;
      ++found;
      const auto value = nlohmann::json::parse(*made, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << *made;
      ASSERT_TRUE(validator.valid(value)) << *made;
      ASSERT_TRUE(constraint.matches(*made)) << *made;
    }
    EXPECT_GT(found, 30) << "most walks find an end";
  }
}

TEST(JsonSchema, RandomTextsOfAModelsVocabularyAreValid) {
  const TokenVocabulary golden = golden_vocabulary();
  std::mt19937 random(4);
  for (const std::string& text : schemas()) {
    SCOPED_TRACE(text);
    const Constraint constraint = Constraint::json_schema(text, golden);
    const SchemaValidator validator(nlohmann::json::parse(text));
    for (int i = 0; i < 3; ++i) {
      const auto made = random_text(constraint, random, 10);
      if (!made) continue;
      const auto value = nlohmann::json::parse(*made, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << *made;
      ASSERT_TRUE(validator.valid(value)) << *made;
    }
  }
}

TEST(JsonSchema, MasksAreWhatTryingEveryTokenGives) {
  std::mt19937 random(5);
  std::vector<Constraint> constraints;
  for (const std::string& text : schemas()) constraints.push_back(schema(text));
  constraints.push_back(Constraint::json_object(vocabulary()));
  for (const Constraint& constraint : constraints) {
    ConstraintState state(constraint);
    for (int step = 0; step < 40 && !state.finished(); ++step) {
      const auto allowed = allowed_by_mask(*state.mask());
      ASSERT_EQ(allowed, allowed_by_trying(state, vocabulary().size()));
      ASSERT_FALSE(allowed.empty());
      ASSERT_EQ(allowed, allowed_by_mask(*state.mask())) << "the kept mask is the same";
      ASSERT_TRUE(state.accept(allowed[random() % allowed.size()]));
    }
  }
}

TEST(JsonSchema, ObjectsOfAnyKindAreJson) {
  const Constraint constraint = Constraint::json_object(vocabulary());
  for (const char* text : {"{}", "{ }", R"({"a":1})", R"({"a": [1, 2.5e-3, {"b": null}], "c": "\u00e9\n\ud83d\ude00"})",
                           "{\n  \"a\": {\n    \"b\": []\n  }\n}", R"({"":"😀"})", R"({"a":-0.5})"}) {
    EXPECT_TRUE(constraint.matches(text)) << text;
  }
  for (const char* text :
       {"[]", "1", "{", R"({"a"})", R"({"a":01})", R"({"a":1,})", R"({"a":"\ud800"})", "{}  ", "{\"a\":\"\n\"}",
        R"({"a":.5})", R"({'a':1})", R"({"a":"\udc00"})", "{   }", R"({"a":1e999})"}) {
    EXPECT_FALSE(constraint.matches(text)) << text;
  }
  EXPECT_TRUE(constraint.matches(str(R"({"a":)", std::string(5000, '['), std::string(5000, ']'), "}")));
  EXPECT_FALSE(constraint.matches(str(R"({"a":)", std::string(5000, '['), std::string(4999, ']'), "}")));
}

TEST(JsonSchema, WhatIsWrittenAsPromisedGoesIn) {
  const auto matches = [](const char* text, const char* json) { return schema(text).matches(json); };
  const char* const person = R"({"type":"object","properties":{"n":{"type":"string"},"a":{"type":"integer"},
                                 "x":{"type":"null"}},"required":["n"]})";
  EXPECT_TRUE(matches(person, R"({"n":"é","a":3,"x":null})"));
  EXPECT_TRUE(matches(person, R"({"n": "b"})"));
  EXPECT_TRUE(matches(person, "{\n  \"n\": \"b\",\n  \"x\": null\n}"));
  EXPECT_FALSE(matches(person, R"({"a":3})")) << "n is required";
  EXPECT_FALSE(matches(person, R"({"a":3,"n":"b"})")) << "in the schema's order";
  EXPECT_FALSE(matches(person, R"({"n":"b","y":1})")) << "only listed ones, unless additionalProperties says so";
  const char* const more = R"({"type":"object","properties":{"ab":{"const":1}},"additionalProperties":{"const":2}})";
  EXPECT_TRUE(matches(more, R"({"ab":1,"a":2,"abc":2,"":2,"b":2})"));
  EXPECT_TRUE(matches(more, R"({"x":2})"));
  EXPECT_FALSE(matches(more, R"({"ab":2})"));
  EXPECT_FALSE(matches(more, R"({"ab":1,"ab":2})"));
  EXPECT_FALSE(matches(more, "{\"\\u0061b\":2}")) << "ab in other words";
  EXPECT_TRUE(matches(R"({"type":"string","pattern":"b"})", R"("abc")")) << "anywhere in the text";
  EXPECT_TRUE(matches(R"({"type":"string","pattern":"^\\n$"})", R"("\n")"));
  EXPECT_TRUE(matches(R"({"type":"string","pattern":"b\\\\"})", R"("ab\\c")"));
  EXPECT_FALSE(matches(R"({"type":"string","pattern":"b\\\\"})", R"("abc")"));
  EXPECT_TRUE(matches(R"({"type":"string","minLength":2,"maxLength":2})", R"("😀\ud83d\ude00")"));
  EXPECT_FALSE(matches(R"({"type":"string","maxLength":1})", R"("éé")"));
  EXPECT_TRUE(matches(R"({"anyOf":[{"const":1},{"const":"a"}],"type":"string"})", R"("a")"));
  EXPECT_FALSE(matches(R"({"anyOf":[{"const":1},{"const":"a"}],"type":"string"})", "1"));
}

TEST(JsonSchema, UniqueItems) {
  const char* const cases[] = {
      R"({"type":"array","items":{"enum":["a",1,null,1,1.0,2]},"uniqueItems":true})",
      R"({"type":"array","items":{"type":"integer","enum":["a",1,2,1]},"uniqueItems":true,"minItems":1})",
      R"({"items":{"type":"boolean"},"uniqueItems":true})",
      R"({"items":{"const":2},"uniqueItems":true,"minItems":1})",
      R"({"items":{"enum":[1,2,"a"],"const":2},"uniqueItems":true})",
      R"({"$defs":{"e":{"enum":[1,2,"a",true]}},"type":"array","items":{"$ref":"#/$defs/e"},"uniqueItems":true,
          "minItems":2,"maxItems":3})",
      R"({"type":"array","items":{"enum":[1,2]},"uniqueItems":false,"maxItems":4})",
      R"({"type":"array","items":{"enum":[1,2]},"uniqueItems":true,"maxItems":0})",
      R"({"type":"array","items":{"type":"integer"},"uniqueItems":true,"maxItems":1})",
  };
  const std::vector<std::string> values = {"1", "2", "\"a\"", "null", "true", "false"};
  for (const char* text : cases) {
    SCOPED_TRACE(text);
    const Constraint constraint = schema(text);
    const SchemaValidator validator(nlohmann::json::parse(text));
    // All lists of up to four of the values.
    std::vector<std::string> lists = {""};
    for (size_t begin = 0, end = 1, length = 0; length < 4; ++length, begin = end, end = lists.size()) {
      for (size_t i = begin; i < end; ++i) {
        for (const std::string& value : values) lists.push_back(lists[i] + (lists[i].empty() ? "" : ",") + value);
      }
    }
    for (const std::string& list : lists) {
      const std::string array = "[" + list + "]";
      EXPECT_EQ(constraint.matches(array), validator.valid(nlohmann::json::parse(array))) << array;
    }
  }
}

TEST(JsonSchema, IntegersWithinBounds) {
  std::mt19937 random(6);
  for (int i = 0; i < 60; ++i) {
    const int spread = i % 2 == 0 ? 30 : 2500;
    int low = static_cast<int>(random() % (2 * spread)) - spread;
    int high = static_cast<int>(random() % (2 * spread)) - spread;
    if (high < low) std::swap(low, high);
    const Constraint constraint = schema(str(R"({"type":"integer","minimum":)", low, R"(,"maximum":)", high, "}"));
    for (int value = -spread - 20; value <= spread + 20; ++value) {
      ASSERT_EQ(constraint.matches(std::to_string(value)), value >= low && value <= high)
          << value << " in [" << low << ", " << high << "]";
    }
    ASSERT_FALSE(constraint.matches("-0"));
    ASSERT_FALSE(constraint.matches("00"));
  }
}

TEST(JsonSchema, NumbersWithinBounds) {
  // Thousandths are exact as integers.
  const auto text = [](int thousandths) {
    const int whole = std::abs(thousandths) / 1000;
    const std::string fraction = std::to_string(1000 + std::abs(thousandths) % 1000).substr(1);
    return str(thousandths < 0 ? "-" : "", whole, ".", fraction);
  };
  std::mt19937 random(7);
  for (int i = 0; i < 60; ++i) {
    int low = static_cast<int>(random() % 8000) - 4000;
    int high = static_cast<int>(random() % 8000) - 4000;
    if (i % 3 == 0) high = low + static_cast<int>(random() % 20);
    if (i % 5 == 0) low = low / 1000 * 1000;
    if (high <= low) std::swap(low, high);
    if (high == low) ++high;
    const bool strict = i % 2 == 0;
    const std::string bounds = strict ? str(R"("exclusiveMinimum":)", text(low), R"(,"exclusiveMaximum":)", text(high))
                                      : str(R"("minimum":)", text(low), R"(,"maximum":)", text(high));
    const Constraint constraint = schema(str(R"({"type":"number",)", bounds, "}"));
    for (int value = -4100; value <= 4100; value += 1 + static_cast<int>(random() % 3)) {
      if (value == 0) continue;  // "-0.000" and "0.000": below
      const bool inside = strict ? value > low && value < high : value >= low && value <= high;
      ASSERT_EQ(constraint.matches(text(value)), inside) << text(value) << " for " << bounds;
      ASSERT_EQ(constraint.matches(text(value) + "00"), inside) << text(value) << "00 for " << bounds;
      if (value % 1000 == 0) {
        ASSERT_EQ(constraint.matches(std::to_string(value / 1000)), inside) << value;
      }
      if (value % 100 == 0) {
        std::string shorter = text(value);
        shorter.resize(shorter.size() - 2);
        ASSERT_EQ(constraint.matches(shorter), inside) << shorter << " for " << bounds;
      }
    }
  }
  EXPECT_TRUE(schema(R"({"type":"number","minimum":0})").matches("0"));
  EXPECT_TRUE(schema(R"({"type":"number","minimum":-1,"maximum":0})").matches("0.0"));
  EXPECT_FALSE(schema(R"({"type":"number","exclusiveMinimum":0})").matches("0.0"));
}

TEST(JsonSchema, Formats) {
  const auto matches = [](const char* format, const char* value) {
    return schema(str(R"({"type":"string","format":")", format, "\"}")).matches(str("\"", value, "\""));
  };
  EXPECT_TRUE(matches("date", "2024-02-28"));
  EXPECT_FALSE(matches("date", "2024-02-30"));
  EXPECT_FALSE(matches("date", "2024-13-01"));
  EXPECT_FALSE(matches("date", "2024-04-31"));
  EXPECT_TRUE(matches("time", "23:59:59Z"));
  EXPECT_FALSE(matches("time", "24:00:00Z"));
  EXPECT_TRUE(matches("date-time", "1999-12-31T12:00:00.123+02:00"));
  EXPECT_FALSE(matches("date-time", "1999-12-31"));
  EXPECT_TRUE(matches("uuid", "123e4567-e89b-12d3-a456-426614174000"));
  EXPECT_FALSE(matches("uuid", "123e4567-e89b-12d3-a456-42661417400"));
  EXPECT_TRUE(matches("email", "a.b+c@example.co.uk"));
  EXPECT_FALSE(matches("email", "a@b@c.d"));
  EXPECT_TRUE(matches("ipv4", "192.168.0.255"));
  EXPECT_FALSE(matches("ipv4", "192.168.0.256"));
  EXPECT_TRUE(matches("ipv6", "2001:db8:0:0:0:0:0:1"));
  EXPECT_TRUE(matches("uri", "https://example.com:8080/a/b?c=d#e"));
  EXPECT_FALSE(matches("uri", "example.com"));
  EXPECT_TRUE(matches("hostname", "a-b.example.com"));
  const Warnings warnings;
  EXPECT_TRUE(matches("colour", "anything"));
  EXPECT_TRUE(warnings.mention("colour"));
}

TEST(JsonSchema, UnsupportedIsNamedWithItsPlace) {
  struct Case {
    const char* schema;
    const char* word;
    const char* another = "";
  };
  const Case cases[] = {
      {R"({"properties":{"a":{"not":{}}}})", "at #/properties/a, keyword \"not\"", "not supported"},
      {R"({"if":{}})", "at #, keyword \"if\""},
      {R"({"propertyNames":{}})", "propertyNames"},
      {R"({"items":{"uniqueItems":true}})", "at #/items, keyword \"uniqueItems\"", "8 values"},
      {R"({"uniqueItems":1})", "uniqueItems", "true or false"},
      {R"({"uniqueItems":true,"items":{"type":"string"}})", "uniqueItems", "8 values"},
      {R"({"uniqueItems":true,"items":{"enum":[[1],2]}})", "uniqueItems", "arrays"},
      {R"({"uniqueItems":true,"items":{"enum":[1,2,3,4,5,6,7,8,9]}})", "uniqueItems", "8 values"},
      {R"({"uniqueItems":true,"items":{"type":"boolean"},"prefixItems":[true]})", "uniqueItems", "prefixItems"},
      {R"({"uniqueItems":true,"items":{"type":"boolean"},"minItems":3})", "minItems", "2 different"},
      {R"({"contains":{}})", "contains"},
      {R"({"items":[{}]})", "prefixItems"},
      {R"({"dependentRequired":{}})", "dependentRequired"},
      {R"({"$ref":"http://example.com/x"})", "$ref", "out of the document"},
      {R"({"$ref":"#/$defs/none"})", "$ref", "leads to nothing"},
      {R"({"type":"thing"})", "type", "thing"},
      {R"({"type":7})", "type"},
      {R"({"enum":["a"],"maxLength":3})", "maxLength", "next to enum"},
      {R"j({"type":"string","pattern":"(?=a)"})j", "pattern", "look-ahead"},
      {R"({"type":"string","pattern":"a","minLength":2})", "pattern", "minLength"},
      {R"({"minLength":-1})", "minLength"},
      {R"({"minItems":4,"maxItems":3})", "maxItems", "minItems"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "minimum", "bounds"},
      {R"({"type":"integer","minimum":0.2,"maximum":0.8})", "no integer"},
      {R"({"type":"object","required":["a"],"properties":{"b":{}},"additionalProperties":false})", "required", "\"a\""},
      {R"({"type":"object","minProperties":1})", "minProperties"},
      {R"({"type":"string","enum":[1]})", "no text"},
      {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "pattern", "both"},
      {R"({"allOf":[{"type":"string"},{"type":"integer"}]})", "no text"},
      {R"(["a"])", "a schema is an object"},
      {R"({"a":NaN})", "not valid JSON"},
      {R"({"a")", "not valid JSON"},
      {"false", "no text"},
  };
  const Warnings warnings;
  for (const Case& item : cases) {
    SCOPED_TRACE(item.schema);
    expect_error(ErrorCode::invalid_argument, {item.word, item.another}, [&] { schema(item.schema); });
  }
}

TEST(JsonSchema, UnknownKeywordsAreWarnedAbout) {
  const Warnings warnings;
  EXPECT_TRUE(schema(R"({"type":"integer","x-order":3})").matches("5"));
  EXPECT_TRUE(warnings.mention("x-order"));
}

TEST(JsonSchema, HostileSchemasGiveErrors) {
  const auto refused = [](const std::string& text, std::initializer_list<std::string_view> words) {
    SCOPED_TRACE(text.substr(0, 100));
    expect_error(ErrorCode::invalid_argument, words, [&] { schema(text); });
  };
  std::string deep = "{}";
  for (int i = 0; i < 5000; ++i) deep = str(R"({"items":)", deep, "}");
  refused(deep, {"nested deeper"});
  refused(R"({"$ref":"#"})", {"begins with itself"});
  refused(R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})",
          {"begins with itself"});
  refused(R"({"allOf":[{"$ref":"#"},{"type":"object"}]})", {"circle"});
  refused(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", {"no text"});
  refused(R"({"type":"array","items":{"$ref":"#"},"minItems":1})", {"no text"});
  refused(std::string(1 << 20, ' ') + "{}", {"bytes"});
  refused(R"({"type":"array","minItems":1000000})", {"minItems"});
  // Grows each time it is followed.
  refused(R"({"$defs":{"a":{"properties":{"x":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}}},
                       "b":{"properties":{"x":{"allOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/a"},{"minItems":1}]}}}},
              "$ref":"#/$defs/a"})",
          {"JSON schema"});
  // Doubles with each level, if written out: rules are shared, so it is fine.
  std::string laughs = R"({"$defs":{"d0":{"type":"string"})";
  for (int i = 1; i < 40; ++i) {
    const std::string below = str(R"({"$ref":"#/$defs/d)", i - 1, "\"}");
    laughs += str(",\"d", i, R"(":{"type":"array","prefixItems":[)", below, ",", below, "]}");
  }
  laughs += R"(},"$ref":"#/$defs/d39"})";
  EXPECT_TRUE(schema(laughs).matches("[[],[[]]]"));
  // A large enum is a tree of bytes, not thousands of places.
  std::string many = R"({"enum":[)";
  for (int i = 0; i < 20000; ++i) many += str(i > 0 ? "," : "", "\"v", i, "\"");
  const Constraint large = schema(many + "]}");
  EXPECT_TRUE(large.matches("\"v19999\""));
  EXPECT_FALSE(large.matches("\"v20000\""));
  ConstraintState state(large);
  EXPECT_EQ(state.mask()->count(), 2) << "the quotation mark, which two tokens are";
}

}  // namespace
}  // namespace bamba::test
