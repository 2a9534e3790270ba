// bamba generate --batch-file: order, options of a line's own, runs that were interrupted.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

using Words = std::vector<std::string>;

Words batch(const std::string& file, const Words& more = {}) {
  Words all = {"generate", "-m",           tiny_model(), "-n",           "8", "--min-new-tokens",
               "8",        "--batch-file", file,         "--batch-size", "3"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::string numbered_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "{\"prompt\": \"Number " + std::to_string(i) + "\"}\n";
  return text;
}

/// The JSON lines of a file or an output, without what the clock says.
std::vector<nlohmann::json> answers(const std::string& text) {
  std::vector<nlohmann::json> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    out.push_back(nlohmann::json::parse(text.substr(begin, end - begin)));
    out.back().erase("timing");
    begin = end + 1;
  }
  return out;
}

TEST(BatchFile, AnswersAreThoseOfEachPromptAlone) {
  const TempFolder folder;
  folder.put("prompts", numbered_lines(10));
  const auto run = run_bamba(batch(folder / "prompts", {"--json", "--do-sample", "--seed", "5"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto got = answers(run.out);
  ASSERT_EQ(got.size(), 10U);
  for (const size_t i : {0U, 7U}) {
    EXPECT_EQ(got[i]["index"], i);
    const auto alone = run_bamba({"generate", "-m", tiny_model(), "-n", "8", "--min-new-tokens", "8", "--json",
                                  "--do-sample", "--seed", std::to_string(5 + i), "-p", "Number " + std::to_string(i)});
    EXPECT_EQ(got[i]["ids"], alone.json()["ids"]);
  }
}

TEST(BatchFile, LinesSetOptionsOfTheirOwn) {
  const TempFolder folder;
  folder.put("prompts",
             "{\"prompt\": \"a\", \"max_tokens\": 9, \"id\": \"mine\"}\n"
             "{\"prompt\": \"a\", \"n\": 3, \"do_sample\": true, \"temperature\": 1.5, \"seed\": 4, \"top_k\": 0}\n"
             "{\"prompt\": \"a\", \"max_new_tokens\": null}\n");
  const auto run = run_bamba(batch(folder / "prompts", {"--json", "--greedy"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto got = answers(run.out);
  ASSERT_EQ(got.size(), 5U);
  EXPECT_EQ(got[0]["ids"].size(), 9U);
  EXPECT_EQ(got[4]["ids"].size(), 8U);
  EXPECT_EQ(got[1]["index"], 1);
  EXPECT_EQ(got[3]["index"], 1);
  EXPECT_NE(got[1]["ids"], got[2]["ids"]);

  const auto refused = [&](const std::string& line, int exit_code, const std::string& words) {
    folder.put("bad", "{\"prompt\": \"fine\"}\n" + line + "\n");
    const auto result = run_bamba(batch(folder / "bad", {"--json"}));
    EXPECT_EQ(result.exit_code, exit_code) << line;
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("line 2"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
  };
  refused(R"({"prompt": "a", "temperature": "hot"})", 3, "temperature");
  refused(R"({"prompt": "a", "n": 2, "num_return_sequences": 2})", 3, "not both");
  refused(R"({"prompt": "a", "top_p": 7})", 2, "top_p");
  refused(R"({"prompt": "a", "stop": [1]})", 3, "stop");
  refused(R"({"prompt": "a", "max_tokens": 0})", 2, "max_new_tokens");

  folder.put("beams", "{\"prompt\": \"a\", \"n\": 2}\n");
  const auto beams = run_bamba(batch(folder / "beams", {"--num-beams", "3"}));
  EXPECT_EQ(beams.exit_code, 2);
  EXPECT_NE(beams.err.find("--num-beams"), std::string::npos) << beams.err;
}

TEST(BatchFile, BeamsRunAsBefore) {
  const TempFolder folder;
  folder.put("prompts", numbered_lines(4));
  const auto run = run_bamba(batch(folder / "prompts", {"--json", "--num-beams", "2"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(run.json(3).contains("score"));
}

TEST(BatchFile, TextUnderHeaders) {
  const TempFolder folder;
  folder.put("prompts", numbered_lines(2));
  const auto run = run_bamba(batch(folder / "prompts", {"--greedy", "--echo"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out.find("=== prompt 0, sequence 0, length ===\nNumber 0"), 0U) << run.out;
  EXPECT_NE(run.out.find("=== prompt 1, sequence 0, length ===\nNumber 1"), std::string::npos) << run.out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

TEST(BatchFile, GoesOnWithWhatIsAnsweredAlready) {
  const TempFolder folder;
  folder.put("prompts", numbered_lines(12));
  const Words command = batch(folder / "prompts", {"--json", "--do-sample", "-o", folder / "out"});
  // A second name keeps the journal when the run removes it.
  folder.put("out.partial", "");
  std::filesystem::create_hard_link(folder / "out.partial", folder / "journal");
  const auto first = run_bamba(command);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, "");
  EXPECT_FALSE(std::filesystem::exists(folder / "out.partial"));
  const auto wanted = answers(read_text(folder / "out"));
  ASSERT_EQ(wanted.size(), 12U);

  // As if it had been stopped after four answers and in the middle of writing the fifth. One answer is changed, to see
  // that it is taken as it is.
  const auto journal = lines_of(read_text(folder / "journal"));
  ASSERT_EQ(journal.size(), 13U);
  std::string partial = journal[0] + "\n";
  auto changed = nlohmann::json::parse(journal[1]);
  const auto index = changed["index"].get<size_t>();
  changed["output"] = "{\"mark\": 1}\n";
  partial += changed.dump() + "\n";
  for (size_t i = 2; i < 5; ++i) partial += journal[i] + "\n";
  folder.put("out.partial", partial + journal[5].substr(0, journal[5].size() / 2));
  std::filesystem::remove(folder / "out");
  std::filesystem::remove(folder / "journal");

  const auto second = run_bamba(command);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE(second.err.find("4 of 12 prompts are answered"), std::string::npos) << second.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "out.partial"));
  const auto got = answers(read_text(folder / "out"));
  ASSERT_EQ(got.size(), 12U);
  for (size_t i = 0; i < 12; ++i) {
    if (i == index) {
      EXPECT_EQ(got[i], nlohmann::json({{"mark", 1}}));
    } else {
      EXPECT_EQ(got[i], wanted[i]) << "the seed is that of the first run";
    }
  }

  // Other inputs, other flags: not the same work.
  for (const Words& other : {batch(folder / "prompts", {"--json", "--do-sample", "--top-k", "3", "-o", folder / "out"}),
                             batch(folder / "prompts", {"--do-sample", "-o", folder / "out"})}) {
    folder.put("out.partial", partial);
    const auto refused = run_bamba(other);
    EXPECT_EQ(refused.exit_code, 2) << refused.err;
    EXPECT_NE(refused.err.find("out.partial"), std::string::npos) << refused.err;
    EXPECT_EQ(read_text(folder / "out.partial"), partial) << "what was answered stays";
  }
  folder.put("out.partial", "something else\n");
  EXPECT_EQ(run_bamba(command).exit_code, 3);
  EXPECT_EQ(read_text(folder / "out.partial"), "something else\n");
}

TEST(BatchFile, CtrlCKeepsWhatIsAnswered) {
  const TempFolder folder;
  folder.put("prompts", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"max_tokens\": 1000000}\n{\"prompt\": \"c\"}\n");
  const Words command = batch(folder / "prompts", {"--greedy", "--eos-token-id", ""});
  const auto result = stop_bamba(command, 20, SIGINT);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_NE(result.out.find("prompt 0"), std::string::npos);
  EXPECT_EQ(result.out.find("prompt 1"), std::string::npos);
}

}  // namespace
}  // namespace bamba::test
