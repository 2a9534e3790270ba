// patternProperties: every short key with every kind of value, against the validator and std::regex.
#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "base/str.h"
#include "constraint/schema_validator.h"
#include "constraint/vocabularies.h"
#include "support/error.h"
#include "support/warnings.h"

namespace bamba::test {
namespace {

/// Whether the schema, an object, has something to say about a key: others are not written.
bool speaks_of(const nlohmann::json& schema, const std::string& key) {
  if (schema.contains("additionalProperties")) return true;
  if (schema.contains("properties") && schema["properties"].contains(key)) return true;
  for (const auto& [pattern, inner] : schema["patternProperties"].items()) {
    if (std::regex_search(key, std::regex(pattern))) return true;
  }
  return false;
}

void check_short_keys(const std::string& text) {
  SCOPED_TRACE(text);
  const Constraint constraint = schema(text);
  const auto document = nlohmann::json::parse(text);
  const SchemaValidator validator(document);
  const std::vector<std::string> letters = {"a", "b", "_", "1", "\"", "\n", "\xC3\xA9"};
  std::vector<std::string> keys = {""};
  for (size_t begin = 0; keys.size() < 400; ++begin) {
    for (const std::string& letter : letters) keys.push_back(keys[begin] + letter);
  }
  int accepted = 0;
  for (const std::string& key : keys) {
    for (const char* value : {"7", "55", "70", "\"x\"", "null", "true"}) {
      const std::string object = str("{", nlohmann::json(key).dump(), ":", value, "}");
      const bool expected = validator.valid(nlohmann::json::parse(object)) && speaks_of(document, key);
      accepted += expected ? 1 : 0;
      EXPECT_EQ(constraint.matches(object), expected) << object;
    }
  }
  EXPECT_GT(accepted, 0);
}

TEST(PatternProperties, ShortKeysAreTakenAsTheValidatorTakesThem) {
  check_short_keys(R"({"type":"object","patternProperties":{"^a":{"type":"integer"}}})");
  check_short_keys(R"({"patternProperties":{"b$":{"type":"string"}},"additionalProperties":false})");
  check_short_keys(R"({"patternProperties":{"^a":{"type":"integer"},"^b":{"type":"string"}}})");
  // Patterns that meet: the value is by both.
  check_short_keys(
      R"({"patternProperties":{"^a":{"type":"integer"},"b":{"type":"number","minimum":50},"1$":{"type":"integer","maximum":60}}})");
  check_short_keys(R"({"patternProperties":{"^a":{"type":"integer"},"b":{"type":["string","integer"]}},
                       "additionalProperties":{"type":"null"}})");
  // Listed properties that match, and others that do not.
  check_short_keys(R"({"properties":{"ab":{"type":"integer","maximum":60},"b":{"type":"null"},"":{"const":true}},
                       "patternProperties":{"^a":{"type":"number","minimum":50}}})");
  check_short_keys(
      R"({"properties":{"ab":{"type":"integer"}},"patternProperties":{"^ab?$":{"type":"integer","maximum":50},"_":true},
                       "additionalProperties":{"type":"string"}})");
  check_short_keys(R"({"properties":{"a\n":true},"patternProperties":{"[\"\\n]":{"type":"string"},"é$":false},
                       "additionalProperties":true})");
  check_short_keys(R"({"patternProperties":{"":{"type":"boolean"}},"additionalProperties":{"type":"integer"}})");
  check_short_keys(R"({"patternProperties":{"^[ab1]{2}$":{"enum":[7,null]}}})");
}

TEST(PatternProperties, SeveralKeys) {
  const Constraint constraint = schema(R"({"properties":{"n":{"type":"integer"}},"required":["n","x-r"],
      "patternProperties":{"^x-":{"type":"string"}},"additionalProperties":false})");
  EXPECT_TRUE(constraint.matches(R"({"n":1,"x-r":"a"})"));
  EXPECT_TRUE(constraint.matches(R"({"n":1,"x-r":"a","x-":"","x-r2":"b"})"));
  EXPECT_FALSE(constraint.matches(R"({"n":1,"x-r":2})")) << "a required property has its pattern's schema";
  EXPECT_FALSE(constraint.matches(R"({"n":1,"x-q":"a"})")) << "required";
  EXPECT_FALSE(constraint.matches(R"({"n":1,"x-r":"a","x-r":"b"})")) << "listed keys come once";
  EXPECT_FALSE(constraint.matches(R"({"n":1,"x-r":"a","y":"b"})"));
  EXPECT_FALSE(constraint.matches("{\"n\":1,\"x-r\":\"a\",\"\\u0078-\":\"b\"}")) << "x in other words";
  const Constraint both = schema(R"({"allOf":[{"patternProperties":{"^a":{"type":"integer"}}},
      {"patternProperties":{"^a":{"minimum":50},"^b":{"type":"null"}}}]})");
  EXPECT_TRUE(both.matches(R"({"a":50,"b":null})"));
  EXPECT_FALSE(both.matches(R"({"a":49})"));
  EXPECT_FALSE(both.matches(R"({"a":50.5})"));
  const Constraint character = schema(R"({"patternProperties":{"^[^a]$":{"const":1}}})");
  EXPECT_TRUE(character.matches(R"({"é":1,"\\":1,"\n":1,"😀":1})")) << "characters, not bytes or escapes";
  EXPECT_FALSE(character.matches(R"({"éé":1})"));
  EXPECT_TRUE(schema(R"({"type":"object","patternProperties":{}})").matches(R"({"any":[1]})"));
}

TEST(PatternProperties, ErrorsNameThePlace) {
  const auto refused = [](const char* object, std::initializer_list<std::string_view> words) {
    SCOPED_TRACE(object);
    expect_error(ErrorCode::invalid_argument, words, [&] { schema(str(R"({"items":)", object, "}")); });
  };
  const std::string_view place = "#/items, keyword \"patternProperties\"";
  refused(R"({"patternProperties":3})", {place, "object of schemas"});
  refused(R"({"patternProperties":{"a(":{}}})", {place, "group"});
  refused(R"j({"patternProperties":{"(?=a)":{}}})j", {place, "look-ahead"});
  refused(R"({"patternProperties":{"a":{"not":{}}}})", {"#/items/patternProperties/a, keyword \"not\""});
  refused(R"({"patternProperties":{"a":{"pattern":"x"},"b":{"pattern":"y"}}})", {"pattern", "both hold"});
  refused(R"({"patternProperties":{"1":{},"2":{},"3":{},"4":{},"5":{},"6":{},"7":{},"8":{},"9":{}}})", {place, "8"});
  refused(R"({"patternProperties":{"^a":{}},"maxProperties":3})", {"maxProperties"});
  refused(R"({"patternProperties":{"^a":{}},"additionalProperties":false,"required":["b"]})", {"required", "\"b\""});
  refused(R"({"allOf":[{"patternProperties":{"^a":{}}},{"properties":{"b":{}},"additionalProperties":false}]})",
          {"patternProperties", "additionalProperties"});
  refused(R"({"anyOf":[{"patternProperties":{"^a":{}}}],"additionalProperties":{"type":"null"}})",
          {"patternProperties", "additionalProperties"});
}

TEST(PatternProperties, WhatPatternsTakeIsBounded) {
  const Warnings warnings;
  // The automaton of each has a state for all sets of the last letters' places.
  expect_error(ErrorCode::invalid_argument, {"patternProperties"},
               [] { schema(R"({"patternProperties":{"^(a|b)*a(a|b){24}$":{}}})"); });
  expect_error(ErrorCode::invalid_argument, {"patternProperties"},
               [] { schema(R"({"patternProperties":{"a.{14}$":{},"b.{9}$":{},"c.{8}$":{}}})"); });
  const auto many = [](const char* pattern, int count) {
    std::string out = R"({"properties":{)";
    for (int i = 0; i < count; ++i) {
      out += str(i > 0 ? "," : "", "\"p", i, R"(":{"patternProperties":{")", pattern, i, R"(":{"type":"null"}}})");
    }
    return out + "}}";
  };
  for (const char* pattern : {"(a|aa){0,60}", "[^\\\\d]{0,5000}", "", "é?.*x"}) {
    SCOPED_TRACE(pattern);
    expect_error(ErrorCode::invalid_argument, {"too"}, [&] { schema(many(pattern, 3000)); });
  }
  // Much to read for few states.
  expect_error(ErrorCode::invalid_argument, {"parts"}, [&] { schema(many("^(z|[^\\\\s\\\\S]{5000})", 500)); });
  expect_error(ErrorCode::invalid_argument, {"parts"}, [&] { schema(many("^(x?){0,90}$|", 3000)); });
}

}  // namespace
}  // namespace bamba::test
