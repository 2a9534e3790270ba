// --help, wrong usage, and one test for each exit code.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "cli/program.h"
#include "io/safetensors.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Usage, EverySubcommandExplainsItself) {
  for (const char* name : {"generate", "chat", "forward", "tokenize", "info", "eval", "bench", "init", "serve"}) {
    const ProgramResult help = run_bamba({name, "--help"});
    EXPECT_EQ(help.exit_code, 0) << name;
    EXPECT_TRUE(contains(help.out, "Examples:")) << help.out;
    EXPECT_TRUE(contains(help.out, std::string("Usage: bamba ") + name)) << help.out;
    EXPECT_TRUE(help.err.empty()) << help.err;
  }
  EXPECT_TRUE(contains(run_bamba({"--help"}).out, "Exit codes:"));
  EXPECT_TRUE(contains(run_bamba({"--version"}).out, "bamba 0."));
}

TEST(Usage, NothingToDoIsAnError) {
  const ProgramResult result = run_bamba({});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(result.out.empty());
  EXPECT_TRUE(contains(result.err, "generate")) << result.err;
}

TEST(Usage, UnknownWordsGetASuggestion) {
  const ProgramResult flag = run_bamba({"generate", "--temprature", "1"});
  EXPECT_EQ(flag.exit_code, 2);
  EXPECT_TRUE(contains(flag.err, "did you mean --temperature?")) << flag.err;
  const ProgramResult command = run_bamba({"genrate"});
  EXPECT_EQ(command.exit_code, 2);
  EXPECT_TRUE(contains(command.err, "did you mean generate?")) << command.err;
}

TEST(Usage, NumbersOutOfRangeNameTheFlag) {
  const std::vector<std::vector<std::string>> bad = {{"--top-p", "1.5"},
                                                     {"--temperature", "-1"},
                                                     {"--temperature", "nan"},
                                                     {"--max-new-tokens", "-3"},
                                                     {"--max-new-tokens", "99999999999999999999"},
                                                     {"--num-beams", "0"},
                                                     {"--threads", "abc"},
                                                     {"--weights", "int3"},
                                                     {"--kv", "f16"},
                                                     {"--early-stopping", "perhaps"},
                                                     {"--seed", "-1"}};
  for (const auto& words : bad) {
    std::vector<std::string> args = {"generate", "-m", ids_only_model(), "--ids", "1"};
    args.insert(args.end(), words.begin(), words.end());
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 2) << words[0] << ' ' << words[1];
    EXPECT_TRUE(contains(result.err, words[0]) && contains(result.err, words[1])) << result.err;
    EXPECT_TRUE(result.out.empty());
  }
}

TEST(Usage, IdsAreChecked) {
  EXPECT_EQ(run_bamba({"generate", "-m", ids_only_model(), "--ids", "1,x"}).exit_code, 2);
  const ProgramResult past = run_bamba({"generate", "-m", ids_only_model(), "--ids", "1,256", "-n", "2"});
  EXPECT_EQ(past.exit_code, 2);
  EXPECT_TRUE(contains(past.err, "256")) << past.err;
}

TEST(Usage, TextNeedsATokenizer) {
  const ProgramResult result = run_bamba({"generate", "-m", ids_only_model(), "-p", "Hello"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.err, "tokenizer")) << result.err;
}

TEST(Usage, DeviceThatIsNotThere) {
  EXPECT_EQ(run_bamba({"generate", "-m", ids_only_model(), "--ids", "1", "--device", "abacus"}).exit_code, 2);
}

TEST(Usage, SettingsWithoutEffectAreNamed) {
  const ProgramResult result =
      run_bamba({"generate", "-m", ids_only_model(), "--ids", "1", "-n", "1", "--greedy", "--top-p", "0.5"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(contains(result.err, "--top-p has no effect")) << result.err;
}

TEST(ExitCodes, BadFilesAre3) {
  const TempFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(ids_only_model(), model);
  std::filesystem::resize_file(model + "/model.safetensors", 1000);
  const ProgramResult truncated = run_bamba({"generate", "-m", model, "--ids", "1"});
  EXPECT_EQ(truncated.exit_code, 3) << truncated.err;
  write_text(model + "/config.json", "{\"model_type\": \"bamba\", \"hidden_size\": -1}");
  EXPECT_EQ(run_bamba({"info", model}).exit_code, 3);
  folder.put("lines.jsonl", "{\"ids\": [1]}\n{\"idz\": [1]}\n");
  const ProgramResult lines = run_bamba({"generate", "-m", ids_only_model(), "--batch-file", folder / "lines.jsonl"});
  EXPECT_EQ(lines.exit_code, 3);
  EXPECT_TRUE(contains(lines.err, "line 2")) << lines.err;
}

TEST(ExitCodes, TheSystemRefusesIs4) {
  EXPECT_EQ(run_bamba({"generate", "-m", "/nonexistent/model", "--ids", "1"}).exit_code, 4);
  const ProgramResult full =
      run_bamba({"generate", "-m", ids_only_model(), "--ids", "1", "-n", "2"}, {.stdout_path = "/dev/full"});
  EXPECT_EQ(full.exit_code, 4);
  EXPECT_TRUE(contains(full.err, "No space left")) << full.err;
  EXPECT_EQ(run_bamba({"generate", "-m", ids_only_model(), "--ids", "1", "-o", "/nonexistent/out"}).exit_code, 4);
}

// Sanitizers reserve terabytes of address space: the limit would stop them before the program starts.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BAMBA_SANITIZED 1
#endif
#endif
#ifndef BAMBA_SANITIZED
TEST(ExitCodes, OutOfMemoryIs5) {
  const ProgramResult result =
      run_bamba({"bench", "--shape", "bamba-9b", "--threads", "1"}, {.address_space = uint64_t{600} << 20});
  EXPECT_EQ(result.exit_code, 5) << result.err;
}
#endif

TEST(ExitCodes, BrokenNumbersAre6) {
  const TempFolder folder;
  const std::string model = folder / "model";
  std::filesystem::copy(ids_only_model(), model);
  // One NaN in the last norm reaches every logit.
  std::string bytes = read_text(model + "/model.safetensors");
  const auto entry = parse_safetensors_header(bytes, "test").tensors.at("model.final_layernorm.weight");
  ASSERT_EQ(entry.dtype, DType::f32);
  const float broken = std::nanf("");
  std::memcpy(bytes.data() + entry.begin, &broken, sizeof broken);
  write_text(model + "/model.safetensors", bytes);
  const ProgramResult result = run_bamba({"generate", "-m", model, "--ids", "1,2", "-n", "4"});
  EXPECT_EQ(result.exit_code, 6) << result.err;
  EXPECT_TRUE(result.out.empty()) << result.out;
}

TEST(Usage, RefusedBeforeTheWeightsAreRead) {
  const ProgramResult empty = run_bamba({"generate", "-m", "", "-p", "x"});
  EXPECT_EQ(empty.exit_code, 2);
  EXPECT_NE(empty.err.find("name a folder"), std::string::npos) << empty.err;
  const ProgramResult stop = run_bamba({"generate", "-m", ids_only_model(), "--ids", "1,2", "--stop", "end"});
  EXPECT_EQ(stop.exit_code, 2);
  EXPECT_NE(stop.err.find("--stop needs a tokenizer"), std::string::npos) << stop.err;
  const ProgramResult state =
      run_bamba({"generate", "-m", ids_only_model(), "--ids", "1,2", "--save-state", "/nonexistent/state"});
  EXPECT_EQ(state.exit_code, 4);
  EXPECT_NE(state.err.find("/nonexistent/state"), std::string::npos) << state.err;
  EXPECT_TRUE(state.out.empty()) << state.out;
}

}  // namespace
}  // namespace bamba::test
