// The demo model is what a visitor meets: it is found without -m, writes, answers and ends by itself.
#include <gtest/gtest.h>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

TEST(Demo, WritesAStoryThatEnds) {
  const ProgramResult result = run_bamba({"generate", "-p", "Once upon a time", "--greedy", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto line = result.json();
  EXPECT_EQ(line["finish_reason"], "eos") << line["text"];
  EXPECT_GT(line["ids"].size(), 50U);
}

TEST(Demo, AnswersInAConversation) {
  const ProgramResult result =
      run_bamba({"chat", "--greedy"}, {.stdin_text = "Why is the sky blue?\nTell me a story.\n/stats\n"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("4 messages"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("blue"), std::string::npos) << result.out;
}

TEST(Demo, ReadsItsOwnKindOfTextWell) {
  const TempFolder folder;
  const std::string story = run_bamba({"generate", "-p", "Once upon a time", "--echo", "--greedy"}).out;
  const std::string file = folder.put("story", story);
  const auto line = run_bamba({"eval", "--text", file, "--json"}).json();
  // The likeliest text is likely: far below the 8.3 nats of a guess among 4,096 tokens.
  EXPECT_LT(line["loss"].get<double>(), 1.5);
}

}  // namespace
}  // namespace bamba::test
