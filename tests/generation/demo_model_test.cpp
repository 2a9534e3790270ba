// The demo model, text to text, against Transformers 5.17 in f32 (tools/make_demo_goldens.py).
#include <bamba/generation.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "model/loss.h"
#include "support/golden_path.h"

namespace bamba {
namespace {

class DemoModel : public ::testing::Test {
 protected:
  static BambaForCausalLM load(WeightFormat weights) {
    RunOptions options;
    options.weights = weights;
    return BambaForCausalLM::from_pretrained(BAMBA_DEMO_MODEL, options);
  }
  Json expected_ = parse_json_file(test::golden_path("demo") / "expected.json", ErrorCode::invalid_file);
  Tokenizer tokenizer_ = Tokenizer::from_pretrained(BAMBA_DEMO_MODEL);
};

// Both formats hold the checkpoint's bf16 values exactly and compute in f32. Along these paths Transformers' first
// and second choice are at least 3e-3 apart (the golden's minimal_gap), a thousand times what f32 is off by.
TEST_F(DemoModel, GreedyTextEqualsTransformers) {
  for (const WeightFormat weights : {WeightFormat::f32, WeightFormat::bf16}) {
    const auto model = load(weights);
    GenerationConfig config = GenerationConfig::from_pretrained(BAMBA_DEMO_MODEL, model.config());
    config.do_sample = false;
    config.max_new_tokens = 60;
    std::vector<std::vector<int64_t>> prompts;
    for (const Json& item : expected_["greedy"]) prompts.push_back(item["input_ids"].get<std::vector<int64_t>>());
    GenerateOptions options;
    options.tokenizer = &tokenizer_;
    const GenerateResult result = generate(model, prompts, config, options);
    ASSERT_EQ(result.sequences.size(), prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(result.sequences[i].ids, expected_["greedy"][i]["new_ids"].get<std::vector<int64_t>>()) << i;
    }
  }
}

TEST_F(DemoModel, LogProbabilitiesOfATextEqualTransformers) {
  const Json& text = expected_["text"];
  const auto ids = text["input_ids"].get<std::vector<int64_t>>();
  EXPECT_EQ(tokenizer_.encode(text["text"].get<std::string>()), ids);
  const auto model = load(WeightFormat::f32);
  SequenceState state = model.new_state();
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  input.logits = LogitsToKeep::all;
  const Tensor logits = model.forward(std::span<const SequenceInput>(&input, 1)).logits;
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  const auto expected = text["log_probs"].get<std::vector<double>>();
  ASSERT_EQ(expected.size() + 1, ids.size());
  for (size_t t = 0; t < expected.size(); ++t) {
    const auto row = logits.data<float>().subspan(t * vocab, vocab);
    // Logits of up to 20 are good to 2e-5 of that (tests/support/golden_folder.h).
    EXPECT_NEAR(row[static_cast<size_t>(ids[t + 1])] - log_sum_exp(row), expected[t], 4e-4) << t;
  }
}

}  // namespace
}  // namespace bamba
