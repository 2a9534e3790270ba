// Replies that must match a regex, a grammar or a schema.
#include <gtest/gtest.h>

#include "server/demo_server.h"

namespace bamba::test {
namespace {

using Json = nlohmann::json;

TEST(ServedConstraint, RepliesMatchTheirConstraint) {
  const Json digits = post(demo().port(), "/v1/completions",
                           {{"prompt", "A number: "},
                            {"max_tokens", 20},
                            {"seed", 1},
                            {"n", 3},
                            {"temperature", 1.5},
                            {"regex", "[0-9]{3}(-[0-9]{2})?"}})
                          .json();
  for (const Json& choice : digits["choices"]) {
    const std::string text = choice["text"];
    EXPECT_TRUE(text.size() == 3 || text.size() == 6) << text;
    EXPECT_EQ(text.find_first_not_of("0123456789-"), std::string::npos) << text;
    EXPECT_EQ(choice["finish_reason"], "stop");
  }
  const Json schema = {
      {"type", "object"},
      {"properties",
       {{"legs", {{"type", "integer"}, {"minimum", 0}, {"maximum", 99}}}, {"wild", {{"type", "boolean"}}}}},
      {"required", {"legs", "wild"}},
      {"additionalProperties", false}};
  const Json object =
      post(demo().port(), "/v1/chat/completions",
           {{"messages", {{{"role", "user"}, {"content", "A fox?"}}}},
            {"max_tokens", 100},
            {"temperature", 0},
            {"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "animal"}, {"schema", schema}}}}}})
          .json();
  const Json animal = Json::parse(object["choices"][0]["message"]["content"].get<std::string>());
  EXPECT_TRUE(animal["legs"].is_number_integer() && animal["wild"].is_boolean()) << animal;
  const Answer wrong = post(demo().port(), "/v1/completions", {{"prompt", "x"}, {"regex", "[a"}});
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.json()["error"]["param"], "regex");
  EXPECT_EQ(post(demo().port(), "/v1/completions", {{"prompt", "x"}, {"regex", "a"}, {"grammar", "root ::= \"a\""}})
                .json()["error"]["param"],
            "grammar");
}

}  // namespace
}  // namespace bamba::test
