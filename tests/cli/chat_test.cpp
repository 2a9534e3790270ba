// bamba chat through a pipe.
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

std::vector<std::string> chat(const std::vector<std::string>& more = {}) {
  std::vector<std::string> args = {"chat", "-m", tiny_model(), "--greedy", "-n", "6", "--min-new-tokens", "6"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

/// The tiny model with a chat template: turns in brackets.
class TemplateModel {
 public:
  TemplateModel() : path_(folder_ / "model") {
    std::filesystem::copy(tiny_model(), path_);
    write_text(path_ + "/chat_template.jinja",
               "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}: {{ m['content'] }}]{% endfor %}"
               "{% if add_generation_prompt %}[assistant: {% endif %}");
  }
  std::vector<std::string> chat() const {
    return {"chat", "-m", path_, "--greedy", "-n", "6", "--min-new-tokens", "6"};
  }

 private:
  TempFolder folder_;
  std::string path_;
};

TEST(Chat, RepliesToEachLine) {
  const ProgramResult result = run_bamba(chat(), {.stdin_text = "Hello\nAnd then\n/exit\nnot read\n"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const ProgramResult first =
      run_bamba({"generate", "-m", tiny_model(), "--greedy", "-n", "6", "--min-new-tokens", "6", "-p", "Hello"});
  EXPECT_TRUE(result.out.starts_with(first.out)) << result.out << "\n---\n" << first.out;
  EXPECT_GT(result.out.size(), first.out.size());
}

TEST(Chat, RetryOfAGreedyReplyIsTheSame) {
  const TemplateModel model;
  const std::string once = run_bamba(model.chat(), {.stdin_text = "Hello\n"}).out;
  EXPECT_FALSE(once.empty());
  EXPECT_EQ(run_bamba(model.chat(), {.stdin_text = "Hello\n/retry\n"}).out, once + once);
  EXPECT_EQ(run_bamba(model.chat(), {.stdin_text = "Hello\n/reset\nHello\n"}).out, once + once);
}

TEST(Chat, SavedConversationGoesOnExactly) {
  const TemplateModel model;
  const TempFolder folder;
  const std::string file = folder / "talk";
  const std::string whole = run_bamba(model.chat(), {.stdin_text = "Hello\nWhy?\n"}).out;
  const ProgramResult first = run_bamba(model.chat(), {.stdin_text = "Hello\n/save " + file + "\n"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const ProgramResult second = run_bamba(model.chat(), {.stdin_text = "/load " + file + "\nWhy?\n"});
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(first.out + second.out, whole);
}

TEST(Chat, OnlyNewTokensAreRead) {
  const TemplateModel model;
  const ProgramResult result =
      run_bamba(model.chat(), {.stdin_text = "Hello there, tell me about the sea and the ships\nWhy?\n/stats\n"});
  const size_t at = result.out.find("last reply");
  ASSERT_NE(at, std::string::npos) << result.out;
  const std::string stats = result.out.substr(at);
  EXPECT_EQ(stats.find(" 0 tokens reused"), std::string::npos) << stats;
}

TEST(Chat, MistakesInAScriptEndIt) {
  const ProgramResult result = run_bamba(chat(), {.stdin_text = "/nonsense\nHello\n"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("/nonsense"), std::string::npos);
  EXPECT_EQ(run_bamba(chat(), {.stdin_text = "/load /nonexistent/file\n"}).exit_code, 4);
  EXPECT_EQ(run_bamba(chat(), {.stdin_text = "/retry\n"}).exit_code, 2);
  EXPECT_EQ(run_bamba({"chat", "-m", ids_only_model()}).exit_code, 2);
}

}  // namespace
}  // namespace bamba::test
