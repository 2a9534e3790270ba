// bamba quantize, and what the other subcommands make of its folders.
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/program.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

const std::string kDemo = BAMBA_DEMO_MODEL;

std::string story() {
  std::string text;
  for (const char* name : {"Rowan", "Poppy", "Wilf", "Hazel"}) {
    text += std::string("Once upon a time, there was a baker named ") + name +
            ". Every morning, the baker walked to the mill by the river to fetch flour. One day, the mill was still. "
            "\"Oh, no!\" cried " +
            name + ". \"What shall I do now?\"\n\n";
  }
  return text;
}

/// The folder of a demo model quantized with these flags.
std::string quantized(const TempFolder& folder, const std::string& name, const std::vector<std::string>& more) {
  std::vector<std::string> args = {"quantize", "-m", kDemo, "-o", folder / name};
  args.insert(args.end(), more.begin(), more.end());
  const ProgramResult result = run_bamba(args);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  return folder / name;
}

TEST(Quantize, BetterMethodsMoveTheDemoModelLess) {
  const TempFolder folder;
  folder.put("text", story());
  folder.put("calibration", "The miller had a daughter named Hazel. " + story());
  const auto divergence = [&](const std::string& name, const std::vector<std::string>& more) {
    const std::string child = quantized(folder, name, more);
    const ProgramResult result =
        run_bamba({"eval", "-m", child, "--against", kDemo, "--text", folder / "text", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json()["kl_divergence"].get<double>();
  };
  const double q8 = divergence("q8", {"--weights", "q8", "--method", "nearest"});
  const double nearest = divergence("nearest", {"--weights", "q4", "--method", "nearest"});
  const double search = divergence("search", {"--weights", "q4"});
  const double feedback = divergence("feedback", {"--weights", "q4", "--calibrate", folder / "calibration"});
  EXPECT_LT(10 * q8, nearest);
  EXPECT_LT(search, nearest);
  EXPECT_LT(feedback, nearest);
}

TEST(Quantize, TheFolderIsAModel) {
  const TempFolder folder;
  const std::string child = quantized(folder, "child", {"--weights", "q4", "--method", "nearest"});
  for (const char* name :
       {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(child) / name)) << name;
  }
  const auto parent = run_bamba({"info", kDemo, "--json"}).json();
  const auto info = run_bamba({"info", child, "--json", "--tensors"}).json();
  EXPECT_EQ(info["parameters"], parent["parameters"]);
  EXPECT_GT(info["parameters_by_dtype"]["q4"].get<double>(), 0.5 * parent["parameters"].get<double>());
  EXPECT_FALSE(info["parameters_by_dtype"].contains("U8"));
  EXPECT_LT(info["weight_bytes"].get<double>(), 0.4 * parent["weight_bytes"].get<double>());
  const auto bench = run_bamba({"bench", "-m", child, "--prompt", "8", "--gen", "4", "--repeat", "1", "--json"});
  ASSERT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_EQ(bench.json()["weights"], "q4");
  EXPECT_GT(bench.json()["load_seconds"].get<double>(), 0);
  // Mapped or packed on the spot: the same weights, the same words.
  const auto story_of = [](std::vector<std::string> args) {
    for (const char* flag : {"-p", "Once upon a time", "-n", "20", "--greedy"}) args.emplace_back(flag);
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  const std::string mapped = story_of({"generate", "-m", child});
  EXPECT_EQ(mapped, story_of({"generate", "-m", kDemo, "--weights", "q4"}));
  EXPECT_GT(mapped.size(), 20U);
}

TEST(Quantize, Fp8FoldersAreThePublishedKind) {
  const TempFolder folder;
  const std::string child = quantized(folder, "fp8", {"--weights", "fp8"});
  const auto info = run_bamba({"info", child, "--json"}).json();
  EXPECT_GT(info["parameters_by_dtype"]["F8_E4M3"].get<double>(), 0.5 * info["parameters"].get<double>());
  EXPECT_EQ(info["config"]["quantization_config"]["quant_method"], "compressed-tensors");
  const auto story_of = [](std::vector<std::string> args) {
    for (const char* flag : {"-p", "Once upon a time", "-n", "20", "--greedy"}) args.emplace_back(flag);
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  };
  EXPECT_EQ(story_of({"generate", "-m", child}), story_of({"generate", "-m", kDemo, "--weights", "fp8"}));
  const ProgramResult method =
      run_bamba({"quantize", "-m", tiny_model(), "-o", folder / "x", "--weights", "fp8", "--method", "search"});
  EXPECT_EQ(method.exit_code, 2);
  EXPECT_NE(method.err.find("fp8 weights are rounded to nearest"), std::string::npos) << method.err;
  const ProgramResult unknown = run_bamba({"generate", "-m", tiny_model(), "--weights", "fp4", "-p", "a"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.err.find("fp8"), std::string::npos) << unknown.err;
}

TEST(Quantize, SixteenBitsAreOnlyRounded) {
  const TempFolder folder;
  const std::string child = folder / "half";
  ASSERT_EQ(run_bamba({"quantize", "-m", tiny_model(), "-o", child, "--weights", "bf16"}).exit_code, 0);
  const auto info = run_bamba({"info", child, "--json"}).json();
  EXPECT_EQ(info["parameters_by_dtype"]["BF16"], info["parameters"]);
  EXPECT_TRUE(info["tokenizer"].is_object());
  const ProgramResult method =
      run_bamba({"quantize", "-m", tiny_model(), "-o", folder / "x", "--weights", "f16", "--method", "search"});
  EXPECT_EQ(method.exit_code, 2);
  EXPECT_NE(method.err.find("f16 weights are only rounded"), std::string::npos) << method.err;
}

TEST(Quantize, Refusals) {
  const TempFolder folder;
  const auto refused = [&](const std::string& model, const std::string& target, const std::vector<std::string>& more,
                           const std::string& words) {
    std::vector<std::string> args = {"quantize", "-m", model, "-o", target};
    args.insert(args.end(), more.begin(), more.end());
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 2) << words;
    EXPECT_NE(result.err.find(words), std::string::npos) << result.err;
  };
  const std::string child = folder / "child";
  refused(tiny_model(), child, {"--weights", "q5"}, "q5");
  refused(tiny_model(), child, {}, "--weights");
  refused(tiny_model(), child, {"--weights", "q4", "--method", "feedback"}, "needs --calibrate FILE");
  refused(tiny_model(), child, {"--weights", "q4", "--only", "wings"}, "wings");
  folder.put("text", story());
  refused(ids_only_model(), child, {"--weights", "q4", "--calibrate", folder / "text"},
          "--calibrate needs a tokenizer");
  EXPECT_FALSE(std::filesystem::exists(child));
  ASSERT_EQ(run_bamba({"quantize", "-m", tiny_model(), "-o", child, "--weights", "q8"}).exit_code, 0);
  refused(tiny_model(), child, {"--weights", "q4"}, "already holds a model; --force overwrites it");
  refused(tiny_model(), tiny_model(), {"--weights", "q4", "--force"}, "is the model itself");
  refused(child, folder / "grandchild", {"--weights", "q4"}, "quantized already");
  ASSERT_EQ(run_bamba({"quantize", "-m", tiny_model(), "-o", child, "--weights", "q4", "--force"}).exit_code, 0);
  EXPECT_GT(run_bamba({"info", child, "--json"}).json()["parameters_by_dtype"]["q4"], 0);
}

}  // namespace
}  // namespace bamba::test
