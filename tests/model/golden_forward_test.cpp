// The forward against Transformers' numbers, case by case.
#include <bamba/model.h>
#include <gtest/gtest.h>

#include "support/golden_folder.h"

namespace bamba {
namespace {

using test::columns;
using test::expect_close;
using test::flags;
using test::GoldenFolder;

class GoldenForward : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenFolder golden_{GetParam()};
  BambaForCausalLM model_ = golden_.load();
};

/// With projection biases Transformers lets padding feed the convolution; here padding is a no-op. So the reference
/// for such a model's padded rows is our own result for the row alone.
bool padding_leaks_in_transformers(const BambaConfig& config) {
  return config.mamba_proj_bias;
}

ForwardInputs inputs_of(const GoldenFolder& golden, const Json& item) {
  ForwardInputs inputs;
  inputs.input_ids = golden.get(item, "input_ids");
  inputs.attention_mask = golden.get(item, "attention_mask");
  inputs.position_ids = golden.get(item, "position_ids");
  return inputs;
}

TEST_P(GoldenForward, LogitsHiddenStatesAttentions) {
  const auto cases = golden_.cases("forward");
  ASSERT_FALSE(cases.empty());
  for (const Json& item : cases) {
    const std::string name = item["name"];
    ForwardInputs inputs = inputs_of(golden_, item);
    inputs.output_hidden_states = true;
    inputs.output_attentions = true;
    const auto out = model_.forward(inputs);
    expect_close(out.logits, golden_.logits(item), name);
    if (golden_.has(item, "last_hidden_state")) {
      const auto base = model_.model().forward(inputs);
      expect_close(base.last_hidden_state, golden_.get(item, "last_hidden_state"), name + " last_hidden_state");
    }
    ASSERT_EQ(out.hidden_states.size(), static_cast<size_t>(model_.config().num_hidden_layers + 1));
    for (size_t i = 0; i < out.hidden_states.size(); ++i) {
      const auto reference = golden_.get(item, str("hidden_states.", i));
      if (reference) expect_close(out.hidden_states[i], reference, str(name, " hidden_states ", i));
    }
    size_t index = 0;
    for (const int64_t layer : model_.config().attn_layer_indices) {
      const auto reference = golden_.get(item, str("attentions.", layer));
      if (reference) expect_close(out.attentions.at(index), reference, str(name, " attentions ", layer));
      ++index;
    }
  }
}

TEST_P(GoldenForward, ChunkedScan) {
  RunOptions options;
  options.scan = ScanForm::chunked;
  const auto model = golden_.load(options);
  for (const Json& item : golden_.cases("forward")) {
    expect_close(model.forward(inputs_of(golden_, item)).logits, golden_.logits(item), item["name"]);
  }
}

TEST_P(GoldenForward, Padded) {
  for (const Json& item : golden_.cases("padded")) {
    const ForwardInputs inputs = inputs_of(golden_, item);
    const auto logits = model_.forward(inputs).logits;
    const std::vector<bool> mask = flags(inputs.attention_mask);
    if (!padding_leaks_in_transformers(model_.config())) {
      expect_close(logits, golden_.logits(item), item["name"], mask);
    }
    // Our own rule: a padded row equals the row alone, to the bit when the positions are the same.
    const int64_t seq = inputs.input_ids.dim(1);
    const int64_t vocab = model_.config().vocab_size;
    for (int64_t b = 0; b < inputs.input_ids.dim(0); ++b) {
      std::vector<int64_t> ids;
      std::vector<int64_t> at;
      std::vector<int64_t> positions;
      for (int64_t t = 0; t < seq; ++t) {
        const auto i = static_cast<size_t>(b * seq + t);
        if (!mask[i]) continue;
        ids.push_back(inputs.input_ids.data<int64_t>()[i]);
        if (inputs.position_ids) positions.push_back(inputs.position_ids.data<int64_t>()[i]);
        at.push_back(static_cast<int64_t>(i));
      }
      if (ids.empty()) continue;
      SequenceState state = model_.new_state();
      SequenceInput alone;
      alone.state = &state;
      alone.input_ids = ids;
      alone.position_ids = positions;
      alone.logits = LogitsToKeep::all;
      const auto expected = model_.forward(std::span<const SequenceInput>(&alone, 1)).logits;
      for (size_t t = 0; t < ids.size(); ++t) {
        EXPECT_EQ(0, std::memcmp(logits.data<float>().data() + at[t] * vocab,
                                 expected.data<float>().data() + static_cast<int64_t>(t) * vocab,
                                 static_cast<size_t>(vocab) * sizeof(float)))
            << item["name"] << " row " << b << " token " << t;
      }
    }
  }
}

/// Compares cache.* with a case's tensors named PREFIX.LAYER.PART; positions of keys that are padding don't count.
void expect_cache(const HybridMambaAttentionDynamicCache& cache, const BambaConfig& config, const GoldenFolder& golden,
                  const Json& item, const std::string& prefix, const Tensor& mask) {
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string at = str(prefix, '.', layer, '.');
    const std::string what = str(item["name"].get<std::string>(), ' ', at);
    if (config.layer_type(layer) == LayerType::mamba) {
      if (golden.has(item, at + "conv_state")) {
        expect_close(cache.conv_states(layer), golden.get(item, at + "conv_state"), what + "conv_state");
        expect_close(cache.ssm_states(layer), golden.get(item, at + "ssm_state"), what + "ssm_state");
      }
      continue;
    }
    if (!golden.has(item, at + "key")) continue;
    const Tensor keys = golden.get(item, at + "key");
    std::vector<bool> real;
    for (int64_t b = 0; b < keys.dim(0); ++b) {
      for (int64_t h = 0; h < keys.dim(1); ++h) {
        for (int64_t t = 0; t < keys.dim(2); ++t) {
          real.push_back(!mask || mask.data<int64_t>()[static_cast<size_t>(b * mask.dim(1) + t)] == 1);
        }
      }
    }
    expect_close(cache.key_cache(layer), keys, what + "key", real);
    expect_close(cache.value_cache(layer), golden.get(item, at + "value"), what + "value", real);
  }
}

TEST_P(GoldenForward, Cached) {
  for (const Json& item : golden_.cases("cached")) {
    const std::string name = item["name"];
    const ForwardInputs all = inputs_of(golden_, item);
    const int64_t prompt = item["prompt"];
    const int64_t steps = item["steps"];
    const bool leaks = padding_leaks_in_transformers(model_.config()) && name == "cached_batch_left";
    auto cache = std::make_shared<HybridMambaAttentionDynamicCache>(model_.model(), all.input_ids.dim(0));
    for (int64_t step = 0; step <= steps; ++step) {
      // Transformers clamps Delta in prompts only; here decoding clamps as well (tests/model/invariance_test.cpp
      // holds it to the prompt's result).
      if (step > 0 && GetParam() == "i_dt_limit") break;
      const int64_t first = step == 0 ? 0 : prompt + step - 1;
      const int64_t count = step == 0 ? prompt : 1;
      ForwardInputs inputs;
      inputs.input_ids = columns(all.input_ids, first, count);
      inputs.attention_mask = columns(all.attention_mask, 0, first + count);
      inputs.position_ids = columns(all.position_ids, first, count);
      if (name == "cached_no_positions") {
        // Without positions Transformers starts every call at 0 again; here the default continues.
        std::vector<int64_t> restarted;
        for (int64_t t = 0; t < count; ++t) restarted.push_back(t);
        inputs.position_ids = Tensor::from(std::span<const int64_t>(restarted), {1, count});
      }
      inputs.past_key_values = cache;
      const auto out = model_.forward(inputs);
      if (leaks) continue;
      expect_close(out.logits, golden_.logits(item, str('.', step)), str(name, " call ", step),
                   flags(columns(all.attention_mask, first, count)));
      if (step == 0) {
        expect_cache(*cache, model_.config(), golden_, item, "prefill_cache", columns(all.attention_mask, 0, prompt));
      }
    }
    if (!leaks && GetParam() != "i_dt_limit") {
      expect_cache(*cache, model_.config(), golden_, item, "cache", all.attention_mask);
    }
  }
}

TEST_P(GoldenForward, SeveralTokensOnANonEmptyCache) {
  for (const Json& item : golden_.cases("chunked")) {
    const std::string name = item["name"];
    const Tensor ids = golden_.get(item, "input_ids");
    auto cache = std::make_shared<HybridMambaAttentionDynamicCache>(model_.model(), ids.dim(0));
    int64_t first = 0;
    int64_t call = 0;
    for (const int64_t count : item["pieces"].get<std::vector<int64_t>>()) {
      // One token on a cache: Transformers does not clamp there.
      if (GetParam() == "i_dt_limit" && count == 1 && call > 0) break;
      ForwardInputs inputs;
      inputs.input_ids = columns(ids, first, count);
      inputs.past_key_values = cache;
      expect_close(model_.forward(inputs).logits, golden_.logits(item, str('.', call)), str(name, " piece ", call));
      first += count;
      ++call;
    }
    if (GetParam() != "i_dt_limit") expect_cache(*cache, model_.config(), golden_, item, "cache", {});
  }
}

TEST_P(GoldenForward, InputsEmbeds) {
  for (const Json& item : golden_.cases("inputs_embeds")) {
    ForwardInputs inputs;
    inputs.inputs_embeds = golden_.get(item, "inputs_embeds").to(DType::f32);
    expect_close(model_.forward(inputs).logits, golden_.logits(item), item["name"]);
  }
}

TEST_P(GoldenForward, Loss) {
  for (const Json& item : golden_.cases("loss")) {
    ForwardInputs inputs = inputs_of(golden_, item);
    inputs.labels = golden_.get(item, "labels");
    expect_close(model_.forward(inputs).loss, golden_.get(item, "loss_f64"), item["name"]);
    inputs.num_items_in_batch = item["num_items_in_batch"].get<int64_t>();
    expect_close(model_.forward(inputs).loss, golden_.get(item, "loss_num_items"), item["name"]);
  }
}

TEST_P(GoldenForward, LogitsToKeep) {
  for (const Json& item : golden_.cases("logits_to_keep")) {
    ForwardInputs inputs = inputs_of(golden_, item);
    for (const int64_t count : {0, 1, 3}) {
      inputs.logits_to_keep = count;
      expect_close(model_.forward(inputs).logits, golden_.get(item, str("logits_keep_", count)), str("keep ", count));
    }
    inputs.logits_to_keep = 0;
    inputs.logits_to_keep_index = golden_.get(item, "index");
    expect_close(model_.forward(inputs).logits, golden_.get(item, "logits_keep_index"), "keep index");
  }
}

TEST_P(GoldenForward, Positions) {
  for (const Json& item : golden_.cases("positions")) {
    // A break in the positions makes Transformers' attention block-diagonal while the SSM state runs on: neither one
    // sequence nor two. Here documents are packed as sequences of a ragged batch.
    if (item["name"] == "positions_packed") continue;
    ForwardInputs inputs = inputs_of(golden_, item);
    inputs.use_cache = item["use_cache"].get<bool>();
    expect_close(model_.forward(inputs).logits, golden_.logits(item), item["name"]);
  }
}

double worst_error(std::span<const float> values, std::span<const double> reference) {
  double worst = 0;
  for (size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(values[i] - reference[i]));
  return worst;
}

TEST_P(GoldenForward, Bf16IsNoWorseThanTransformersBf16) {
  for (const Json& item : golden_.cases("bf16")) {
    RunOptions options;
    options.weights = WeightFormat::bf16;
    const auto model = golden_.load(options);
    const Tensor exact = golden_.get(item, "logits_f64");
    const Tensor theirs = golden_.get(item, "logits").to(DType::f32);
    const Tensor ours = model.forward(inputs_of(golden_, item)).logits;
    EXPECT_LE(worst_error(ours.data<float>(), exact.data<double>()),
              worst_error(theirs.data<float>(), exact.data<double>()));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenForward, ::testing::ValuesIn(test::golden_models()), test::test_name);

}  // namespace
}  // namespace bamba
