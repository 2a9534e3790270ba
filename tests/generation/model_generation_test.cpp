// generate() with real (tiny) models: Transformers' generations token for token, and the promises that results depend
// on nothing but prompt, seed and place in the batch.
#include <bamba/error.h>
#include <bamba/generation.h>
#include <bamba/progress.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "model/loss.h"
#include "support/golden_folder.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using Ids = std::vector<int64_t>;

BambaForCausalLM load(const std::string& folder, int threads = 2) {
  RunOptions options;
  options.threads = threads;
  return BambaForCausalLM::from_pretrained(test::golden_path(folder), options);
}

size_t argmax(std::span<const float> scores) {
  return static_cast<size_t>(std::ranges::max_element(scores) - scores.begin());
}

/// One "generate" case of a golden folder, its padding taken off.
struct Case {
  std::string name;
  GenerationConfig config;
  std::vector<Ids> prompts;
  std::vector<bool> padded;
  std::vector<Ids> continuations;  // as stored: filled up after the end
  std::vector<double> scores;
};

std::vector<Case> read_cases(const std::string& folder, const BambaConfig& model) {
  const test::GoldenFolder golden(folder);
  std::vector<Case> cases;
  for (const Json& item : golden.cases("generate")) {
    Case& test = cases.emplace_back();
    test.name = item.at("name").get<std::string>();
    test.config = GenerationConfig::from_json(item.at("params").dump(), test.name, model);
    // The goldens ran without the model's own eos: only where the case names one does it end a sequence.
    if (!item.at("params").contains("eos_token_id")) test.config.eos_token_id.clear();
    const Tensor ids = golden.get(item, "input_ids");
    const Tensor mask = golden.get(item, "attention_mask");
    const Tensor sequences = golden.get(item, "sequences");
    const auto columns = static_cast<size_t>(ids.dim(1));
    for (size_t b = 0; b < static_cast<size_t>(ids.dim(0)); ++b) {
      Ids prompt;
      for (size_t t = 0; t < columns; ++t) {
        if (mask.data<int64_t>()[b * columns + t] != 0) prompt.push_back(ids.data<int64_t>()[b * columns + t]);
      }
      test.padded.push_back(prompt.size() < columns);
      test.prompts.push_back(std::move(prompt));
    }
    const auto width = static_cast<size_t>(sequences.dim(1));
    for (size_t row = 0; row < static_cast<size_t>(sequences.dim(0)); ++row) {
      const auto all = sequences.data<int64_t>().subspan(row * width, width);
      test.continuations.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(columns), all.end());
    }
    if (const Tensor scores = golden.get(item, "sequences_scores")) {
      test.scores.assign(scores.data<double>().begin(), scores.data<double>().end());
    }
  }
  return cases;
}

/// `stored` is `ids`, then filled with the pad or (beam search of Transformers, when the pad id is 0) the eos token.
void expect_continuation(const Ids& ids, const Ids& stored, const GenerationConfig& config, const std::string& what) {
  ASSERT_LE(ids.size(), stored.size()) << what;
  EXPECT_EQ(ids, Ids(stored.begin(), stored.begin() + static_cast<std::ptrdiff_t>(ids.size()))) << what;
  for (size_t i = ids.size(); i < stored.size(); ++i) {
    EXPECT_TRUE(stored[i] == config.pad_token_id || std::ranges::count(config.eos_token_id, stored[i]) > 0) << what;
  }
}

/// The logits after every token, in one forward.
Tensor all_logits(const BambaForCausalLM& model, const Ids& ids) {
  SequenceState state = model.new_state();
  std::vector<SequenceInput> inputs(1);
  inputs[0].state = &state;
  inputs[0].input_ids = ids;
  inputs[0].logits = LogitsToKeep::all;
  return model.forward(inputs).logits;
}

/// Greedy tokens must be the best of the logits that one forward of everything gives: our own rule, where Transformers'
/// one-token step computes something else than its prompt.
void expect_greedy_of_prefill(const BambaForCausalLM& model, const Ids& prompt, const Ids& ids,
                              const std::string& what) {
  Ids all = prompt;
  all.insert(all.end(), ids.begin(), ids.end());
  const Tensor logits = all_logits(model, all);
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto row = logits.data<float>().subspan((prompt.size() - 1 + i) * vocab, vocab);
    EXPECT_EQ(static_cast<size_t>(ids[i]), argmax(row)) << what << " token " << i;
  }
}

bool is_plain_greedy(const GenerationConfig& config) {
  return config.num_beams == 1 && config.repetition_penalty == 1.0 && config.no_repeat_ngram_size == 0 &&
         !config.min_new_tokens;
}

TEST(Generation, WarnsOnceAboutALongContext) {
  const test::Warnings warnings;
  BambaConfig small = BambaConfig::from_pretrained(test::golden_path("a_base"));
  small.max_position_embeddings = 4;
  const auto model = BambaForCausalLM::from_config(small);
  GenerationConfig config;
  config.max_new_tokens = 3;  // the last new token is never fed: 4 in all
  generate(model, std::vector<Ids>{{1, 2}}, config);
  EXPECT_EQ(warnings.text(), "");
  config.max_new_tokens = 8;
  generate(model, std::vector<Ids>{{1, 2}, {1, 2, 3, 4, 5}}, config);
  EXPECT_EQ(warnings.all().size(), 1U) << warnings.text();
  EXPECT_TRUE(warnings.mention("max_position_embeddings of 4")) << warnings.text();
}

class GenerationGoldens : public testing::TestWithParam<const char*> {};

TEST_P(GenerationGoldens, TokenForToken) {
  const std::string folder = GetParam();
  const BambaForCausalLM model = load(folder);
  const auto cases = read_cases(folder, model.config());
  ASSERT_FALSE(cases.empty());
  for (const Case& test : cases) {
    const auto result = generate(model, test.prompts, test.config);
    ASSERT_EQ(result.sequences.size(), test.continuations.size()) << test.name;
    const size_t each = test.continuations.size() / test.prompts.size();
    for (size_t i = 0; i < result.sequences.size(); ++i) {
      const std::string what = folder + "/" + test.name + " sequence " + std::to_string(i);
      const GeneratedSequence& sequence = result.sequences[i];
      // Where this engine means to differ, its own rule holds instead:
      //  - time_step_limit: Transformers does not clamp in the one-token step;
      //  - padding with projection biases: Transformers lets the padding feed the convolution.
      const bool clamps = folder == "i_dt_limit";
      const bool leaks = folder == "b_groups" && test.padded[i / each];
      if (!clamps && !leaks) {
        expect_continuation(sequence.ids, test.continuations[i], test.config, what);
        // 2e-5 of the reference, as for logits; a mean of log-probabilities near 0 keeps the error of its terms.
        if (!test.scores.empty()) {
          EXPECT_NEAR(sequence.score.value_or(NAN), test.scores[i], 2e-5 * std::max(1.0, std::abs(test.scores[i])))
              << what;
        }
        continue;
      }
      if (clamps) {
        EXPECT_EQ(sequence.ids[0], test.continuations[i][0]) << what;
      }  // from the prompt alone
      const auto alone = generate(model, std::span(test.prompts).subspan(i / each, 1), test.config);
      EXPECT_EQ(sequence.ids, alone.sequences[i % each].ids) << what;
      if (is_plain_greedy(test.config)) {
        expect_greedy_of_prefill(model, test.prompts[i / each], sequence.ids, what);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, GenerationGoldens,
                         testing::Values("a_base", "b_groups", "c_tied_mha", "d_mqa", "e_no_attention",
                                         "f_all_attention", "g_conv3_gelu", "h_stress", "i_dt_limit", "j_real_dims"),
                         [](const auto& instance) { return std::string(instance.param); });

const std::vector<Ids> kPrompts = {
    {5, 9, 33, 7, 120, 44, 3, 18, 77, 101, 6, 90, 14, 15, 16, 17, 18, 19, 20, 21, 22}, {8}, {1, 150, 13}};

GenerationConfig sampling(int64_t new_tokens) {
  GenerationConfig config;
  config.do_sample = true;
  config.temperature = 1.5;  // the tiny models are sure of themselves
  config.max_new_tokens = new_tokens;
  config.seed = 11;
  config.output_logprobs = true;
  return config;
}

void expect_same(const GeneratedSequence& a, const GeneratedSequence& b) {
  EXPECT_EQ(a.ids, b.ids);
  ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
  for (size_t i = 0; i < a.logprobs.size(); ++i) EXPECT_EQ(a.logprobs[i].logprob, b.logprobs[i].logprob);
}

TEST(ModelGeneration, SameTextOnAnyNumberOfThreadsAndInAnyCompany) {
  const auto want = generate(load("a_base", 1), kPrompts, sampling(24));
  for (int threads = 2; threads <= 8; ++threads) {
    const auto got = generate(load("a_base", threads), kPrompts, sampling(24));
    for (size_t i = 0; i < kPrompts.size(); ++i) expect_same(got.sequences[i], want.sequences[i]);
  }
  const BambaForCausalLM model = load("a_base");
  const auto alone = generate(model, std::span(kPrompts).first(1), sampling(24));
  expect_same(alone.sequences[0], want.sequences[0]);
  const auto company = generate(model, std::vector<Ids>{{4, 4}, kPrompts[1]}, sampling(24));
  expect_same(company.sequences[1], want.sequences[1]);
}

TEST(ModelGeneration, ChunkedPrefillIsTheSame) {
  for (const char* folder : {"a_base", "b_groups"}) {
    const BambaForCausalLM model = load(folder);
    GenerationConfig config = sampling(10);
    const auto want = generate(model, kPrompts, config);
    for (const int64_t chunk : {1, 2, 5, 8, 20, 21, 100}) {
      config.prefill_chunk_size = chunk;
      const auto got = generate(model, kPrompts, config);
      for (size_t i = 0; i < kPrompts.size(); ++i) expect_same(got.sequences[i], want.sequences[i]);
    }
  }
}

TEST(ModelGeneration, AConversationGoesOnFromItsState) {
  const BambaForCausalLM model = load("a_base");
  GenerationConfig config = sampling(8);
  std::vector<SequenceState> states(1);
  GenerateOptions options;
  options.states = states;
  Ids conversation = kPrompts[0];
  for (int turn = 0; turn < 4; ++turn) {
    config.seed = static_cast<uint64_t>(turn);
    const int64_t held = states[0] ? states[0].length() : 0;
    const auto fresh = generate(model, std::vector<Ids>{conversation}, config);
    const auto resumed = generate(model, std::vector<Ids>{conversation}, config, options);
    expect_same(resumed.sequences[0], fresh.sequences[0]);
    EXPECT_EQ(resumed.timing.prompt_tokens, static_cast<int64_t>(conversation.size()) - held);
    conversation.insert(conversation.end(), fresh.sequences[0].ids.begin(), fresh.sequences[0].ids.end());
    EXPECT_EQ(states[0].length(), static_cast<int64_t>(conversation.size()) - 1);
    conversation.insert(conversation.end(), {40, 41, 42});
  }
  // Nothing left to run.
  conversation.resize(static_cast<size_t>(states[0].length()));
  EXPECT_THROW(generate(model, std::vector<Ids>{conversation}, config, options), Error);
}

TEST(ModelGeneration, GivenStatesAreLeftAloneWhenShared) {
  const BambaForCausalLM model = load("a_base");
  std::vector<SequenceState> states(1);
  GenerateOptions options;
  options.states = states;
  GenerationConfig config = sampling(6);
  generate(model, std::vector<Ids>{{1, 2, 3}}, config, options);
  const int64_t held = states[0].length();
  Ids prompt = {1, 2, 3};
  const auto first = generate(model, std::vector<Ids>{prompt}, config);
  prompt.insert(prompt.end(), first.sequences[0].ids.begin(), first.sequences[0].ids.end());
  config.num_return_sequences = 3;
  for (const int64_t beams : {1, 3}) {
    config.num_beams = beams;
    const auto fresh = generate(model, std::vector<Ids>{prompt}, config);
    const auto resumed = generate(model, std::vector<Ids>{prompt}, config, options);
    EXPECT_EQ(states[0].length(), held);
    for (size_t i = 0; i < 3; ++i) expect_same(resumed.sequences[i], fresh.sequences[i]);
  }
}

TEST(ModelGeneration, ForkedSequencesAreThoseOfASeparateRun) {
  const BambaForCausalLM model = load("b_groups");
  GenerationConfig config = sampling(16);
  config.num_return_sequences = 5;
  const auto many = generate(model, kPrompts, config);
  for (int64_t n = 1; n < 5; ++n) {
    config.num_return_sequences = n;
    const auto fewer = generate(model, kPrompts, config);
    for (size_t p = 0; p < kPrompts.size(); ++p) {
      for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
        expect_same(fewer.sequences[p * static_cast<size_t>(n) + i], many.sequences[p * 5 + i]);
      }
    }
  }
  // And each token's log-probability is what one forward of the whole sequence gives, bit for bit.
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  for (const GeneratedSequence& sequence : many.sequences) {
    const Ids& prompt = kPrompts[static_cast<size_t>(sequence.prompt_index)];
    Ids all = prompt;
    all.insert(all.end(), sequence.ids.begin(), sequence.ids.end());
    const Tensor logits = all_logits(model, all);
    for (size_t i = 0; i < sequence.ids.size(); ++i) {
      const auto row = logits.data<float>().subspan((prompt.size() - 1 + i) * vocab, vocab);
      EXPECT_EQ(sequence.logprobs[i].logprob, double{row[static_cast<size_t>(sequence.ids[i])]} - log_sum_exp(row));
    }
  }
}

TEST(ModelGeneration, BadInputsAreErrors) {
  const BambaForCausalLM model = load("a_base");
  EXPECT_THROW(generate(model, std::vector<Ids>{{259}}, {}), Error);
  GenerationConfig config;
  config.num_beams = 0;
  EXPECT_THROW(generate(model, kPrompts, config), Error);
  GenerateOptions options;
  std::vector<SequenceState> states(1);
  options.states = states;
  EXPECT_THROW(generate(model, kPrompts, {}, options), Error);
}

}  // namespace
}  // namespace bamba
