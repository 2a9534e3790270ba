// bamba tokenize, info, eval, bench and init.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "cli/program.h"
#include "support/fp8_blocks.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

const std::string kText = "The lighthouse keeper counted \xE2\x80\x94 one, two, three \xF0\x9F\x90\x88 \xE4\xBD\xA0.\n";

TEST(Tokenize, RoundTrip) {
  const ProgramResult encoded = run_bamba({"tokenize", "-m", tiny_model(), "--json"}, {.stdin_text = kText});
  ASSERT_EQ(encoded.exit_code, 0) << encoded.err;
  const auto line = encoded.json();
  EXPECT_EQ(line["ids"].size(), line["offsets"].size());
  EXPECT_EQ(line["ids"][0], 4094) << "the token that begins a text";
  const ProgramResult decoded =
      run_bamba({"tokenize", "-m", tiny_model(), "--decode", "--json", "--skip-special-tokens"},
                {.stdin_text = line["ids"].dump()});
  ASSERT_EQ(decoded.exit_code, 0) << decoded.err;
  // This tokenizer's file asks for clean-up of spaces, which leaves this text alone.
  EXPECT_EQ(decoded.json()["text"], kText);
  const auto bare = run_bamba({"tokenize", "-m", tiny_model(), "--json", "--no-special-tokens", "-p", kText}).json();
  EXPECT_EQ(bare["ids"].size() + 1, line["ids"].size());
}

TEST(Tokenize, PlainOutputIsATokenALine) {
  const ProgramResult result = run_bamba({"tokenize", "-m", tiny_model(), "-p", "a\nb", "--no-special-tokens"});
  EXPECT_GE(result.lines().size(), 2U);
  EXPECT_NE(result.out.find("\\n"), std::string::npos) << result.out;
}

TEST(Tokenize, BadIdsAreRefused) {
  EXPECT_EQ(run_bamba({"tokenize", "-m", tiny_model(), "--decode", "-p", "[1, two]"}).exit_code, 2);
}

TEST(Info, TextAndJson) {
  const ProgramResult text = run_bamba({"info", tiny_model(), "--tensors"});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("model.embed_tokens.weight"), std::string::npos);
  EXPECT_EQ(text.out.find('\033'), std::string::npos) << "no colour outside a terminal";
  const auto line = run_bamba({"info", "-m", tiny_model(), "--json", "--tensors"}).json();
  EXPECT_EQ(line["config"]["hidden_size"], 64);
  EXPECT_EQ(line["parameters_by_dtype"]["F32"], line["parameters"]);
  // One f32 state: 2 Mamba layers x (160 channels x 4 + 128 x 16) numbers; one attention layer: 2 x 2 heads x 16.
  EXPECT_EQ(line["state_bytes"], 2 * (160 * 4 + 128 * 16) * 4);
  EXPECT_EQ(line["kv_bytes_per_token"], 2 * 2 * 16 * 4);
  EXPECT_EQ(line["kv"], "f32");
  const auto half = run_bamba({"info", "-m", tiny_model(), "--json", "--kv", "bf16"}).json();
  EXPECT_EQ(half["kv_bytes_per_token"], 2 * 2 * 16 * 2);
  EXPECT_EQ(half["kv"], "bf16");
  int64_t parameters = 0;
  for (const auto& tensor : line["tensors"]) {
    int64_t count = 1;
    for (const int64_t size : tensor["shape"]) count *= size;
    parameters += count;
  }
  EXPECT_EQ(line["parameters"], parameters);
}

TEST(Info, BlocksOfFp8ScalesAreShown) {
  const TempFolder folder;
  const Fp8BlockCheckpoint checkpoint(tiny_model(), {128, 64}, "_scale_inv");
  const auto coded = folder.path() / "coded";
  checkpoint.write_coded(coded, weight_block_size("[128, 64]"));
  const ProgramResult text = run_bamba({"info", coded});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("fp8 scales for blocks of 128 x 64"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("F8_E4M3"), std::string::npos) << text.out;
  EXPECT_EQ(run_bamba({"info", coded, "--json"}).json()["fp8_block_size"].dump(), "[128,64]");
  EXPECT_TRUE(run_bamba({"info", tiny_model(), "--json"}).json()["fp8_block_size"].is_null());
  checkpoint.write_coded(coded, weight_block_size("[128, 0]"));
  const ProgramResult bad = run_bamba({"info", coded});
  EXPECT_NE(bad.exit_code, 0);
  EXPECT_NE(bad.err.find("weight_block_size is [128,0]"), std::string::npos) << bad.err;
}

TEST(Init, SameSeedSameFile) {
  const TempFolder folder;
  const auto make = [&](const std::string& name, const std::string& seed) {
    EXPECT_EQ(run_bamba({"init", "-o", folder / name, "--shape", "tiny", "--seed", seed}).exit_code, 0);
    return folder.get(name + "/model.safetensors");
  };
  const std::string first = make("a", "1");
  EXPECT_EQ(first, make("b", "1"));
  EXPECT_NE(first, make("c", "2"));
  const ProgramResult again = run_bamba({"init", "-o", folder / "a", "--shape", "tiny"});
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_NE(again.err.find("--force"), std::string::npos);
}

TEST(Init, ShardsAndTypes) {
  const TempFolder folder;
  const std::string model = folder / "model";
  ASSERT_EQ(
      run_bamba({"init", "-o", model, "--shape", "tiny", "--dtype", "bf16", "--max-shard-size", "100kB"}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(model + "/model.safetensors.index.json"));
  EXPECT_EQ(run_bamba({"generate", "-m", model, "--ids", "1,2", "-n", "2"}).exit_code, 0);
  EXPECT_EQ(run_bamba({"init", "-o", folder / "x", "--shape", "tiny", "--max-shard-size", "a lot"}).exit_code, 2);
  EXPECT_EQ(run_bamba({"init", "-o", folder / "x"}).exit_code, 2);
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "Line " + std::to_string(i) + ": the ferry left the island at noon.\n";
  return text;
}

TEST(Eval, WindowsAndBytes) {
  const TempFolder folder;
  folder.put("text", long_text());
  const auto eval = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"eval", "-m", tiny_model(), "--text", folder / "text", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json();
  };
  const auto whole = eval({"--context", "0"});
  const int64_t tokens = whole["tokens"];
  // The tokenizer begins the text with a token of its own, so every token of the text is scored.
  EXPECT_EQ(whole["scored_tokens"], tokens - 1);
  EXPECT_EQ(whole["bytes"], long_text().size());
  EXPECT_EQ(whole["loss"], eval({"--context", "100000"})["loss"]) << "a window that holds everything";
  const auto overlapping = eval({"--context", "64", "--stride", "16"});
  EXPECT_EQ(overlapping["scored_tokens"], tokens - 1);
  EXPECT_EQ(overlapping["bytes"], long_text().size());
  const auto apart = eval({"--context", "64", "--stride", "64"});
  EXPECT_EQ(apart["scored_tokens"], tokens - (tokens + 63) / 64);
  EXPECT_LT(apart["bytes"], long_text().size());
  // perplexity = exp(loss); bits per byte = nats / ln 2 / bytes. Doubles printed in full: rounding only.
  const double loss = apart["loss"];
  EXPECT_NEAR(apart["perplexity"].get<double>(), std::exp(loss), 1e-9 * std::exp(loss));
  EXPECT_NEAR(apart["bits_per_byte"].get<double>(),
              loss * apart["scored_tokens"].get<double>() / std::log(2.0) / apart["bytes"].get<double>(), 1e-9);
  // Random weights of this size say next to nothing: the loss is close to ln(4096) = 8.3.
  EXPECT_NEAR(loss, std::log(4096.0), 1.0);
}

TEST(Eval, StrideBeyondContextIsRefused) {
  const TempFolder folder;
  folder.put("text", long_text());
  const ProgramResult result =
      run_bamba({"eval", "-m", tiny_model(), "--text", folder / "text", "--context", "8", "--stride", "9"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("--stride"), std::string::npos);
}

TEST(Bench, JsonHasTheFigures) {
  const ProgramResult result =
      run_bamba({"bench", "--shape", "tiny", "--prompt", "8", "--gen", "4", "--batch", "2", "--repeat", "1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto line = result.json();
  for (const char* key : {"prompt_tokens_per_second", "decode_tokens_per_second", "time_to_first_token",
                          "weight_bytes_per_token", "machine_read_bytes_per_second", "share_of_read_bandwidth",
                          "machine_int8_ops_per_second", "prompt_share_of_peak", "decode_share_of_bound",
                          "decode_bytes_per_step", "peak_memory_bytes", "load_seconds", "bits_per_weight"}) {
    EXPECT_GT(line[key].get<double>(), 0) << key;
  }
  EXPECT_EQ(line["state_bytes"], 2 * (160 * 4 + 128 * 16) * 4);
  EXPECT_EQ(line["gpu_memory_bytes"], 0);  // on the CPU
  EXPECT_EQ(line["gpu_memory_peak_bytes"], 0);
  EXPECT_EQ(run_bamba({"bench", "--shape", "tiny", "-m", tiny_model()}).exit_code, 2);
}

TEST(Bench, ProfileAddsUp) {
  const ProgramResult result = run_bamba({"bench", "--shape", "demo", "--prompt", "64", "--gen", "8", "--repeat", "2",
                                          "--weights", "bf16", "--profile", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto line = result.json();
  for (const char* phase : {"prompt", "decode"}) {
    const auto& profile = line["profile"][phase];
    double share = profile["outside_seconds"].get<double>() / profile["seconds"].get<double>();
    bool has_scan = false;
    for (const auto& operation : profile["operations"]) {
      share += operation["share_of_time"].get<double>();
      EXPECT_GE(operation["share_of_roof"].get<double>(), 0);
      if (operation["name"] == "selective_scan") {
        has_scan = true;
        EXPECT_EQ(operation["calls"], 5);  // Mamba layers of the demo shape, a prompt or a step
      }
    }
    EXPECT_NEAR(share, 1, 1e-6) << phase;
    EXPECT_GE(profile["outside_seconds"].get<double>(), 0);
    EXPECT_TRUE(has_scan);
  }
  const ProgramResult text = run_bamba({"bench", "--shape", "tiny", "--gen", "2", "--repeat", "1", "--profile"});
  EXPECT_NE(text.out.find("linear mamba.in_proj"), std::string::npos);
  EXPECT_NE(text.out.find("all linear"), std::string::npos);
}

TEST(Bench, ContextLengthensTheState) {
  const auto bench = [](const std::string& context) {
    const ProgramResult result = run_bamba({"bench", "--shape", "demo", "--prompt", "8", "--gen", "4", "--repeat", "1",
                                            "--batch", "2", "--context", context, "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json();
  };
  const auto none = bench("0");
  const auto one = bench("1");  // nothing to read ahead
  const auto long_one = bench("1000");
  EXPECT_EQ(one["context"], 1);
  EXPECT_GT(long_one["state_bytes_at_end"].get<double>(), none["state_bytes_at_end"].get<double>());
  // A step of two sequences reads the keys and values of 1000 tokens more.
  EXPECT_NEAR(long_one["decode_bytes_per_step"].get<double>() - none["decode_bytes_per_step"].get<double>(),
              2 * 1000 * none["kv_bytes_per_token"].get<double>(), 1);
  EXPECT_EQ(run_bamba({"bench", "--shape", "tiny", "--context", "-1"}).exit_code, 2);
}

TEST(Bench, LayersGoWithAShape) {
  const ProgramResult result = run_bamba({"bench", "-m", tiny_model(), "--layers", "1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("--layers"), std::string::npos) << result.err;
}

TEST(Eval, AgainstItselfAndAgainstAnother) {
  const TempFolder folder;
  folder.put("text", long_text());
  const auto eval = [&](const std::string& reference, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {"eval",          "-m",        tiny_model(), "--against", reference, "--text",
                                     folder / "text", "--context", "64",         "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const ProgramResult result = run_bamba(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json();
  };
  const auto same = eval(tiny_model());
  EXPECT_EQ(same["kl_divergence"], 0);
  EXPECT_EQ(same["top1_agreement"], 1);
  EXPECT_EQ(same["reference_loss"], same["loss"]);
  // The reference runs in its stored f32, the model in bf16: close, but not the same.
  const auto rounded = eval(tiny_model(), {"--weights", "bf16"});
  EXPECT_GT(rounded["kl_divergence"].get<double>(), 0);
  EXPECT_LT(rounded["kl_divergence"].get<double>(), 1e-3);
  EXPECT_EQ(rounded["reference_loss"], same["loss"]);
  EXPECT_NE(rounded["loss"], same["loss"]);
  // Another model altogether, of the same vocabulary and without a tokenizer of its own.
  const std::string other = folder / "other";
  ASSERT_EQ(run_bamba({"init", "-o", other, "--config", tiny_model(), "--seed", "77"}).exit_code, 0);
  const auto distant = eval(other);
  EXPECT_GT(distant["kl_divergence"].get<double>(), 100 * rounded["kl_divergence"].get<double>());
  EXPECT_GE(distant["largest_kl_divergence"], distant["kl_divergence"]);
  EXPECT_LT(distant["top1_agreement"].get<double>(), 0.5);
  const ProgramResult text =
      run_bamba({"eval", "-m", tiny_model(), "--against", other, "--text", folder / "text", "--context", "64"});
  EXPECT_NE(text.out.find("KL divergence"), std::string::npos) << text.out;
}

TEST(Eval, OnlyModelsOfOneVocabularyAreCompared) {
  const TempFolder folder;
  folder.put("text", long_text());
  const std::string other = folder / "other";
  ASSERT_EQ(run_bamba({"init", "-o", other, "--shape", "tiny"}).exit_code, 0);
  const ProgramResult sizes = run_bamba({"eval", "-m", tiny_model(), "--against", other, "--text", folder / "text"});
  EXPECT_EQ(sizes.exit_code, 2);
  EXPECT_NE(sizes.err.find("a vocabulary of 256 and the model one of 4096"), std::string::npos) << sizes.err;
  // The demo model's tokenizer is another one, though of the same size.
  const ProgramResult ids =
      run_bamba({"eval", "-m", tiny_model(), "--against", BAMBA_DEMO_MODEL, "--text", folder / "text"});
  EXPECT_EQ(ids.exit_code, 2);
  EXPECT_NE(ids.err.find("gives other ids"), std::string::npos) << ids.err;
}

TEST(Eval, AWindowOfOneTokenIsRefused) {
  const TempFolder folder;
  write_text(folder / "text", "The sea is wide.");
  const ProgramResult result = run_bamba({"eval", "-m", tiny_model(), "--text", folder / "text", "--context", "1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("--context: 1"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace bamba::test
