// RunOptions::profile: every operation of a forward is counted, and no number changes.
#include <bamba/model.h>
#include <gtest/gtest.h>

#include <map>

#include "model/random_model.h"
#include "support/same_bits.h"

namespace bamba {
namespace {

using test::random_config;
using test::random_model;
using test::Rng;

TEST(Profiling, ResultsAreTheSameToTheLastBit) {
  for (const uint64_t seed : {1, 2, 3, 4}) {
    Rng rng(seed);
    const BambaConfig config = random_config(rng);
    RunOptions options;
    options.profile = std::make_shared<Profile>();
    const BambaForCausalLM plain = random_model(config, seed);
    const BambaForCausalLM profiled = random_model(config, seed, options);
    const std::vector<int64_t> ids = rng.ids(37, config.vocab_size);
    EXPECT_EQ(profiled.model().threads(), plain.model().threads());
    const auto logits = [&](const BambaForCausalLM& model) {
      SequenceState state = model.new_state();
      SequenceInput input;
      input.state = &state;
      input.input_ids = ids;
      input.logits = LogitsToKeep::all;
      return model.forward({&input, 1}).logits;
    };
    const Tensor a = logits(plain);
    const Tensor b = logits(profiled);
    EXPECT_TRUE(test::same_bits(a.data<float>(), b.data<float>()));
    EXPECT_FALSE(options.profile->operations().empty());
  }
}

TEST(Profiling, EveryMatrixIsReadOnceByADecodingStep) {
  Rng rng(11);
  BambaConfig config = random_config(rng);
  config.num_hidden_layers = 3;
  config.attn_layer_indices = {1};
  config.tie_word_embeddings = false;
  RunOptions options;
  options.profile = std::make_shared<Profile>();
  const BambaForCausalLM model = random_model(config, 11, options);
  SequenceState state = model.new_state();
  const std::vector<int64_t> ids = rng.ids(1, config.vocab_size);
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  options.profile->reset();
  static_cast<void>(model.forward({&input, 1}));

  std::map<std::string, OperationProfile> found;
  for (const OperationProfile& operation : options.profile->operations()) found[operation.name] = operation;
  for (const char* name :
       {"linear feed_forward.gate_proj + feed_forward.up_proj", "linear feed_forward.down_proj", "linear mamba.in_proj",
        "linear mamba.out_proj", "linear self_attn.q_proj + self_attn.k_proj + self_attn.v_proj",
        "linear self_attn.o_proj", "linear lm_head", "embed", "rms_norm", "gated_rms_norm", "gated_activation",
        "causal_conv", "selective_scan", "rotate", "kv_append", "attention"}) {
    EXPECT_EQ(found.count(name), 1U) << name;
  }
  EXPECT_EQ(found["linear feed_forward.gate_proj + feed_forward.up_proj"].calls, 3);
  EXPECT_EQ(found["linear mamba.in_proj"].calls, 2);
  EXPECT_EQ(found["linear self_attn.q_proj + self_attn.k_proj + self_attn.v_proj"].calls, 1);
  EXPECT_EQ(found["selective_scan"].calls, 2);
  EXPECT_EQ(found["rms_norm"].calls, 2 * 3 + 1);
  // A multiply-add for each element of each matrix, biases apart.
  const double in_proj = static_cast<double>(config.in_proj_dim() * config.hidden_size);
  const double biases = config.mamba_proj_bias ? static_cast<double>(config.in_proj_dim()) : 0;
  EXPECT_EQ(found["linear mamba.in_proj"].flops, 2 * (2 * in_proj + biases));
}

}  // namespace
}  // namespace bamba
