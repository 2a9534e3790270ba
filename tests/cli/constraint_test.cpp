// bamba generate with --regex, --json-schema, --json-object and --grammar.
#include <gtest/gtest.h>

#include <regex>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

using Words = std::vector<std::string>;

Words with(const Words& start, const Words& more) {
  Words all = {"generate", "-p", "Tim said: "};
  all.insert(all.end(), start.begin(), start.end());
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

constexpr const char* kSchema =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":1,
        "maximum":99},"mood":{"enum":["happy","sad"]}},"required":["name","age","mood"],"additionalProperties":false})";

void expect_person(const std::string& text) {
  const auto value = nlohmann::json::parse(text, nullptr, false);
  ASSERT_FALSE(value.is_discarded()) << text;
  ASSERT_EQ(value.size(), 3U) << text;
  EXPECT_LE(value["name"].get<std::string>().size(), 48U);
  EXPECT_GE(value["age"].get<int>(), 1);
  EXPECT_LE(value["age"].get<int>(), 99);
  EXPECT_TRUE(value["mood"] == "happy" || value["mood"] == "sad") << text;
}

TEST(GenerateConstraint, JsonSchemaGivesValidJson) {
  const TempFolder folder;
  const std::string file = folder.put("schema.json", kSchema);
  // The demo model knows nothing of JSON: what it writes is the constraint's doing.
  for (const Words& how : {Words{"--greedy"}, Words{"--do-sample", "--seed", "1"}, Words{"--do-sample", "--seed", "2"},
                           Words{"--num-beams", "3"}}) {
    const ProgramResult result = run_bamba(with(how, {"--json-schema", file, "--json"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.json()["finish_reason"], "eos");
    expect_person(result.json()["text"]);
  }
  const ProgramResult inline_schema = run_bamba(with({"--greedy"}, {"--json-schema", kSchema}));
  ASSERT_EQ(inline_schema.exit_code, 0) << inline_schema.err;
  expect_person(inline_schema.out);
}

TEST(GenerateConstraint, HoldsForEverySequenceOfABatch) {
  const ProgramResult result =
      run_bamba({"generate", "-p", "a", "-p", "The sea was", "-p", "Once", "--do-sample", "--seed", "4",
                 "--num-return-sequences", "3", "--regex", "[a-f]{3,6}-\\d{2}", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(result.lines().size(), 9U);
  for (size_t i = 0; i < 9; ++i) {
    const std::string text = result.json(i)["text"];
    EXPECT_TRUE(std::regex_match(text, std::regex("[a-f]{3,6}-\\d{2}"))) << text;
  }
}

TEST(GenerateConstraint, BeamSearchGoesOnWhereMostBeamsHaveEnded) {
  const ProgramResult result = run_bamba(with({"--num-beams", "3"}, {"--regex", "[0-9]{1,2} years old\\.", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string text = result.json()["text"];
  EXPECT_TRUE(std::regex_match(text, std::regex("[0-9]{1,2} years old\\."))) << text;
}

TEST(GenerateConstraint, GrammarAndJsonObject) {
  const TempFolder folder;
  const std::string file = folder.put("g", "root ::= \"yes\" | \"no\" (\", \" root)?\n");
  const ProgramResult grammar = run_bamba(with({"--greedy"}, {"--grammar", file, "--json"}));
  ASSERT_EQ(grammar.exit_code, 0) << grammar.err;
  const std::string answer = grammar.json()["text"];
  EXPECT_TRUE(std::regex_match(answer, std::regex("(no, )*(yes|no)"))) << answer;
  const ProgramResult object = run_bamba(with({"--greedy"}, {"--json-object", "--json", "-n", "40"}));
  ASSERT_EQ(object.exit_code, 0) << object.err;
  EXPECT_TRUE(object.json()["text"].get<std::string>().starts_with("{"));
}

TEST(GenerateConstraint, MistakesAreTold) {
  const auto refused = [](const Words& flags, int code, const char* word) {
    const ProgramResult result = run_bamba(with({}, flags));
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
  };
  refused({"--regex", "a(?=b)"}, 2, "look-ahead");
  refused({"--json-schema", R"({"not":{}})"}, 2, "not supported");
  refused({"--json-schema", "/no/such/file"}, 4, "/no/such/file");
  refused({"--regex", "a", "--json-object"}, 2, "--json-object");
  refused({"--regex", "a", "--eos-token-id", ""}, 2, "--eos-token-id");
  const ProgramResult no_tokenizer = run_bamba({"generate", "-m", ids_only_model(), "--ids", "1", "--regex", "a"});
  EXPECT_NE(no_tokenizer.exit_code, 0);
  EXPECT_NE(no_tokenizer.err.find("--regex"), std::string::npos) << no_tokenizer.err;
}

}  // namespace
}  // namespace bamba::test
