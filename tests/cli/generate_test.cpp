// bamba generate: outputs, streams, stops, states.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

using Words = std::vector<std::string>;

Words with(const Words& start, const Words& more) {
  Words all = {"generate", "-m", tiny_model()};
  all.insert(all.end(), start.begin(), start.end());
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// Random weights end a text at random; these flags make the number of tokens certain.
const Words kEight = {"-n", "8", "--min-new-tokens", "8"};

TEST(Generate, JsonLineHasEverything) {
  const ProgramResult result =
      run_bamba(with(kEight, {"-p", "Once upon a time", "--greedy", "--json", "--logprobs", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(result.lines().size(), 1U);
  const auto line = result.json();
  EXPECT_EQ(line["index"], 0);
  EXPECT_GT(line["prompt_ids"].size(), 0U);
  EXPECT_EQ(line["ids"].size(), 8U);
  EXPECT_EQ(line["finish_reason"], "length");
  EXPECT_TRUE(line["text"].is_string());
  EXPECT_FALSE(line.contains("score"));
  ASSERT_EQ(line["logprobs"].size(), 8U);
  EXPECT_EQ(line["logprobs"][0]["id"], line["ids"][0]);
  EXPECT_EQ(line["logprobs"][0]["top"].size(), 2U);
  EXPECT_LE(line["logprobs"][0]["logprob"].get<double>(), 0);
  EXPECT_EQ(line["timing"]["new_tokens"], 8);
}

TEST(Generate, StreamedTextIsTheTextOfJson) {
  const std::string text = run_bamba(with(kEight, {"-p", "The sea", "--greedy", "--json"})).json()["text"];
  const ProgramResult streamed = run_bamba(with(kEight, {"-p", "The sea", "--greedy"}));
  EXPECT_EQ(streamed.out, text.ends_with('\n') ? text : text + "\n");
  EXPECT_TRUE(streamed.err.empty()) << streamed.err;
  const ProgramResult echoed = run_bamba(with(kEight, {"-p", "The sea", "--greedy", "--echo"}));
  EXPECT_EQ(echoed.out, "The sea" + streamed.out);
  const ProgramResult piped = run_bamba(with(kEight, {"--greedy"}), {.stdin_text = "The sea\n"});
  EXPECT_EQ(piped.out, streamed.out) << "one final line feed of stdin is dropped";
}

TEST(Generate, SeedDecidesAndThreadsDoNot) {
  const auto ids = [](const Words& more) {
    return run_bamba(with({"-p", "The sea", "--do-sample", "--json", "-n", "24", "--min-new-tokens", "24"}, more))
        .json()["ids"];
  };
  const auto first = ids({"--seed", "5", "--threads", "1"});
  EXPECT_EQ(first, ids({"--seed", "5", "--threads", "3"}));
  EXPECT_EQ(first, ids({"--seed", "5", "--prefill-chunk", "1"}));
  EXPECT_NE(first, ids({"--seed", "6"}));
  EXPECT_NE(ids({}), ids({})) << "without --seed, every run draws its own";
}

TEST(Generate, TheFoldersDefaultsHold) {
  const TempFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(tiny_model(), model);
  folder.put("model/generation_config.json",
             R"({"do_sample": true, "max_new_tokens": 5, "min_new_tokens": 5, "eos_token_id": 2})");
  const auto ids = [&](const Words& more) {
    Words args = {"generate", "-m", model, "-p", "The sea", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(result.err.empty()) << result.err;
    return result.json()["ids"];
  };
  EXPECT_EQ(ids({}).size(), 5U);
  EXPECT_NE(ids({"--seed", "1"}), ids({"--seed", "2"}));
  const auto greedy = run_bamba(with({"-p", "The sea", "--json"}, {"-n", "5", "--min-new-tokens", "5"})).json()["ids"];
  EXPECT_EQ(ids({"--greedy"}), greedy);
  EXPECT_EQ(ids({"--no-do-sample"}), greedy);
  EXPECT_EQ(ids({"--no-generation-config", "-n", "5", "--min-new-tokens", "5"}), greedy);
  EXPECT_EQ(ids({"-n", "7"}).size(), 7U);
}

TEST(Generate, BatchFileAnswersInOrder) {
  const TempFolder folder;
  folder.put("prompts.jsonl", "{\"prompt\": \"One\"}\n\n{\"ids\": [5, 6, 7]}\n{\"prompt\": \"Three\"}\n");
  const ProgramResult result =
      run_bamba(with(kEight, {"--batch-file", folder / "prompts.jsonl", "--greedy", "--json", "--batch-size", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(result.lines().size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(result.json(i)["index"], i);
  EXPECT_EQ(result.json(1)["prompt_ids"], nlohmann::json({5, 6, 7}));
  // Company changes nothing.
  EXPECT_EQ(result.json(1)["ids"], run_bamba(with(kEight, {"--ids", "5,6,7", "--greedy", "--json"})).json()["ids"]);
  EXPECT_EQ(result.json(2)["ids"], run_bamba(with(kEight, {"-p", "Three", "--greedy", "--json"})).json()["ids"]);
}

TEST(Generate, BatchFileIsCheckedWholeBeforeAnythingRuns) {
  const TempFolder folder;
  // The second line is blank; with batches of one, the first prompt could have been answered already.
  write_text(folder / "ids", "{\"ids\": [1]}\n\n{\"ids\": [2]}\n{\"ids\": [3, 99999999]}\n");
  const ProgramResult ids = run_bamba(with(kEight, {"--batch-file", folder / "ids", "--batch-size", "1", "--json"}));
  EXPECT_EQ(ids.exit_code, 2);
  EXPECT_EQ(ids.out, "");
  EXPECT_NE(ids.err.find("line 4: token 1 is 99999999"), std::string::npos) << ids.err;

  write_text(folder / "huge", "{\"ids\": [18446744073709551615]}\n");
  const ProgramResult huge = run_bamba(with(kEight, {"--batch-file", folder / "huge"}));
  EXPECT_EQ(huge.exit_code, 3);
  EXPECT_NE(huge.err.find("line 1: 18446744073709551615"), std::string::npos) << huge.err;

  write_text(folder / "long", "{\"ids\": [1]}\n{\"ids\": [2, 3, 4, 5]}\n");
  const ProgramResult length =
      run_bamba(with({"--max-length", "4"}, {"--batch-file", folder / "long", "--batch-size", "1", "--json"}));
  EXPECT_EQ(length.exit_code, 2);
  EXPECT_EQ(length.out, "");
  EXPECT_NE(length.err.find("line 2: the prompt has 4 tokens"), std::string::npos) << length.err;
}

TEST(Generate, SavingAStateTouchesNoOtherFile) {
  const TempFolder folder;
  write_text(folder / "book.state", "somebody's");
  const ProgramResult saved = run_bamba(with(kEight, {"-p", "The sea", "--save-state", folder / "book"}));
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_EQ(read_text(folder / "book.state"), "somebody's");
}

TEST(Generate, BeamsAndSeveralSequences) {
  const ProgramResult beams =
      run_bamba(with({"-p", "The sea", "-n", "6"}, {"--num-beams", "3", "--num-return-sequences", "2", "--json"}));
  ASSERT_EQ(beams.lines().size(), 2U) << beams.err;
  EXPECT_GE(beams.json(0)["score"].get<double>(), beams.json(1)["score"].get<double>());
  const ProgramResult text =
      run_bamba(with({"-p", "The sea", "-n", "6"}, {"--num-beams", "3", "--num-return-sequences", "2"}));
  EXPECT_NE(text.out.find("=== prompt 0, sequence 1, score"), std::string::npos) << text.out;
}

TEST(Generate, WithoutATokenizerIdsComeOut) {
  const ProgramResult result =
      run_bamba({"generate", "-m", ids_only_model(), "--ids", "[1, 2, 3]", "-n", "3", "--min-new-tokens", "3"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), ','), 2) << result.out;
}

TEST(Generate, OutputFileIsWhole) {
  const TempFolder folder;
  const ProgramResult result = run_bamba(with(kEight, {"-p", "The sea", "--greedy", "-o", folder / "text"}));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(result.out.empty());
  EXPECT_EQ(folder.get("text"), run_bamba(with(kEight, {"-p", "The sea", "--greedy"})).out);
}

TEST(Generate, StopStringAndLogitBias) {
  const ProgramResult whole = run_bamba(with(kEight, {"-p", "The sea", "--greedy", "--json"}));
  const int64_t first = whole.json()["ids"][0];
  const ProgramResult biased = run_bamba(
      with(kEight, {"-p", "The sea", "--greedy", "--json", "--logit-bias", std::to_string(first) + ":-1000"}));
  ASSERT_EQ(biased.exit_code, 0) << biased.err;
  const auto line = biased.json();
  ASSERT_EQ(line["ids"].size(), 8U);
  for (const int64_t id : line["ids"]) EXPECT_NE(id, first);
  const ProgramResult banned =
      run_bamba(with(kEight, {"-p", "The sea", "--greedy", "--json", "--bad-words-ids", std::to_string(first)}));
  EXPECT_EQ(banned.json()["ids"], biased.json()["ids"]);
}

TEST(Generate, SavedStateGoesOnExactly) {
  const TempFolder folder;
  const std::string state = folder / "warm.state";
  const auto expected = run_bamba(with(kEight, {"--ids", "5,6,7,8,9,10", "--greedy", "--json"})).json();
  const ProgramResult saved = run_bamba(with({"--ids", "5,6,7"}, {"-n", "0", "--save-state", state}));
  ASSERT_EQ(saved.exit_code, 0) << saved.err;
  const ProgramResult resumed =
      run_bamba(with(kEight, {"--load-state", state, "--ids", "8,9,10", "--greedy", "--json"}));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(resumed.json()["ids"], expected["ids"]);
  EXPECT_EQ(resumed.json()["prompt_ids"], expected["prompt_ids"]);
}

TEST(Generate, GenerationGoesOnFromItsOwnState) {
  const TempFolder folder;
  const std::string state = folder / "warm.state";
  const Words sixteen = {"-n", "16", "--min-new-tokens", "16"};
  const auto expected = run_bamba(with(sixteen, {"-p", "The sea", "--greedy", "--json"})).json()["ids"];
  const auto first =
      run_bamba(with(kEight, {"-p", "The sea", "--greedy", "--json", "--save-state", state})).json()["ids"];
  const ProgramResult second = run_bamba(with(kEight, {"--load-state", state, "-p", "", "--greedy", "--json"}));
  ASSERT_EQ(second.exit_code, 0) << second.err;
  nlohmann::json joined = first;
  const auto rest = second.json();
  for (const auto& id : rest["ids"]) joined.push_back(id);
  EXPECT_EQ(joined, expected);
}

TEST(Generate, DamagedStateIsRefused) {
  const TempFolder folder;
  const std::string state = folder / "warm.state";
  ASSERT_EQ(run_bamba(with({"--ids", "5,6,7"}, {"-n", "0", "--save-state", state})).exit_code, 0);
  std::filesystem::resize_file(state, std::filesystem::file_size(state) / 2);
  EXPECT_EQ(run_bamba(with({"--ids", "5"}, {"--load-state", state})).exit_code, 3);
  EXPECT_EQ(run_bamba({"generate", "-m", ids_only_model(), "--ids", "5", "--load-state", folder / "none"}).exit_code,
            4);
}

TEST(Generate, CtrlCKeepsWhatWasWritten) {
  const ProgramResult result =
      stop_bamba(with({"-p", "The sea", "--greedy"}, {"-n", "1000000", "--min-new-tokens", "1000000"}), 20, SIGINT);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_GE(result.out.size(), 20U);
  EXPECT_TRUE(result.out.ends_with('\n'));
}

TEST(Generate, BrokenPipeIsQuiet) {
  const ProgramResult result =
      stop_bamba(with({"-p", "The sea", "--greedy"}, {"-n", "1000000", "--min-new-tokens", "1000000"}), 20, 0);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(result.err.empty()) << result.err;
}

}  // namespace
}  // namespace bamba::test
