// fp8 checkpoints: written in the published layout, read back to the bit.
#include <bamba/model.h>
#include <bamba/quantize.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "io/checkpoint.h"
#include "model/random_model.h"
#include "model/tensor_specs.h"
#include "support/all_logits.h"
#include "support/error.h"
#include "support/fp8_blocks.h"
#include "support/same_bits.h"
#include "support/temp_folder.h"
#include "tensor/fp8_matrix.h"

namespace bamba::test {
namespace {

constexpr const char* kDown = "model.layers.0.feed_forward.down_proj.weight";

/// A bf16 parent of random shape, and what is made of it.
class Fp8Checkpoint : public ::testing::Test {
 protected:
  void make_parent(uint64_t seed, bool tied) {
    Rng rng(seed);
    BambaConfig config = random_config(rng);
    config.attn_layer_indices = {1};
    config.tie_word_embeddings = tied;
    config.dtype = DType::bf16;
    random_model(config, seed).save_pretrained(parent(), {});
  }
  std::filesystem::path parent() const { return folder_ / "parent"; }
  std::filesystem::path child() const { return folder_ / "child"; }
  static QuantizeOptions fp8() {
    QuantizeOptions options;
    options.weights = WeightFormat::fp8;
    options.method = QuantizeMethod::nearest;
    options.threads = 2;
    return options;
  }
  std::filesystem::path quantize(const QuantizeOptions& options = fp8()) const {
    quantize_checkpoint(parent(), child(), options);
    return child();
  }
  Json quantization_config() const {
    return parse_json(read_file(child() / "config.json", 1 << 20), "config.json",
                      ErrorCode::invalid_config)["quantization_config"];
  }

  TempFolder folder_;
};

BambaForCausalLM load(const std::filesystem::path& folder, std::optional<WeightFormat> weights = {}) {
  RunOptions run;
  run.weights = weights;
  return BambaForCausalLM::from_pretrained(folder, run);
}

TEST_F(Fp8Checkpoint, IsTheParentLoadedAsFp8) {
  for (const uint64_t seed : {1, 2, 3}) {
    make_parent(seed, seed == 3);
    quantize();
    const auto expected = all_logits(load(parent(), WeightFormat::fp8));
    EXPECT_TRUE(same_bits(all_logits(load(child())), expected)) << seed;
    EXPECT_TRUE(same_bits(all_logits(load(child(), WeightFormat::fp8)), expected)) << seed;
    EXPECT_TRUE(same_bits(all_logits(load(child(), WeightFormat::bf16)), expected)) << seed;
    EXPECT_FALSE(same_bits(all_logits(load(parent())), expected)) << seed;
  }
}

TEST_F(Fp8Checkpoint, HasThePublishedLayout) {
  make_parent(4, false);
  QuantizeOptions options = fp8();
  options.max_shard_bytes = 20000;
  const Checkpoint checkpoint = Checkpoint::open(quantize(options));
  EXPECT_GT(checkpoint.files().size(), 1U);
  const Checkpoint source = Checkpoint::open(parent());
  ThreadPool pool(1);
  for (const TensorSpec& spec : tensor_specs(BambaConfig::from_pretrained(child()))) {
    SCOPED_TRACE(spec.name);
    const SafetensorsEntry& entry = checkpoint.entry(spec.name);
    EXPECT_EQ(entry.shape, spec.shape);
    const std::string scale = spec.name + "_scale";
    if (spec.role != TensorRole::linear || spec.name == kHeadName) {
      EXPECT_FALSE(checkpoint.contains(scale));
      const Tensor was = source.tensor(spec.name);
      const Tensor is = checkpoint.tensor(spec.name);
      ASSERT_EQ(is.dtype(), was.dtype());
      EXPECT_EQ(0, std::memcmp(is.raw(), was.raw(), was.nbytes()));
      continue;
    }
    const Fp8Matrix matrix = quantize_fp8(source.tensor(spec.name), pool);
    ASSERT_EQ(entry.dtype, DType::f8_e4m3);
    EXPECT_EQ(0, std::memcmp(checkpoint.tensor(spec.name).raw(), matrix.codes.raw(), matrix.codes.nbytes()));
    EXPECT_EQ(checkpoint.entry(scale).shape, (Shape{spec.shape[0], 1}));
    const Tensor scales = checkpoint.tensor(scale);
    EXPECT_TRUE(same_bits(std::as_const(scales).data<float>(), matrix.scales));
  }
  const Json config = quantization_config();
  EXPECT_EQ(config["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["format"], "float-quantized");
  EXPECT_EQ(config["ignore"], Json::array({"lm_head"}));
  const Json& group = config["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], Json::array({"Linear"}));
  EXPECT_EQ(group["weights"]["num_bits"], 8);
  EXPECT_EQ(group["weights"]["type"], "float");
  EXPECT_EQ(group["weights"]["strategy"], "channel");
  EXPECT_EQ(group["weights"]["dynamic"], false);
  EXPECT_TRUE(group["input_activations"].is_null());
}

TEST_F(Fp8Checkpoint, OnlyWhatWasChosen) {
  make_parent(5, false);
  QuantizeOptions options = fp8();
  options.only = {"down"};
  const Checkpoint checkpoint = Checkpoint::open(quantize(options));
  for (const std::string& name : checkpoint.names()) {
    if (name.ends_with("_scale")) continue;
    EXPECT_EQ(checkpoint.entry(name).dtype == DType::f8_e4m3, name.ends_with("down_proj.weight")) << name;
  }
  const Json ignored = quantization_config()["ignore"];
  EXPECT_NE(std::find(ignored.begin(), ignored.end(), "model.layers.0.feed_forward.up_proj"), ignored.end());
  EXPECT_EQ(std::find(ignored.begin(), ignored.end(), "model.layers.0.feed_forward.down_proj"), ignored.end());
  // Asked for as fp8 again, the rest stays what it is.
  EXPECT_TRUE(same_bits(all_logits(load(child(), WeightFormat::fp8)), all_logits(load(child()))));
}

TEST_F(Fp8Checkpoint, Refusals) {
  make_parent(6, false);
  const auto refuses = [&](std::initializer_list<std::string_view> words, const auto& change) {
    QuantizeOptions options = fp8();
    change(options);
    expect_error(ErrorCode::invalid_argument, words, [&] { quantize(options); });
    EXPECT_FALSE(std::filesystem::exists(child()));
  };
  refuses({"fp8", "rounded to nearest"}, [](QuantizeOptions& o) { o.method = QuantizeMethod::search; });
  refuses({"fp8", "rounded to nearest"}, [](QuantizeOptions& o) { o.calibration = {1, 2}; });
  refuses({"no matrix", "lm_head"}, [](QuantizeOptions& o) { o.only = {"lm_head"}; });
  refuses({"wings"}, [](QuantizeOptions& o) { o.only = {"wings"}; });
  quantize();
  expect_error(ErrorCode::invalid_argument, {"child", "quantized already"},
               [&] { quantize_checkpoint(child(), folder_ / "grandchild", fp8()); });
}

TEST_F(Fp8Checkpoint, OneWithScalesForBlocksIsASourceLikeItsFloats) {
  make_parent(8, false);
  const Fp8BlockCheckpoint blocks(parent(), {8, 16}, "_scale_inv");
  blocks.write_coded(folder_ / "blocks", weight_block_size("[8, 16]"));
  blocks.write_plain(folder_ / "floats");
  QuantizeOptions options = fp8();
  expect_error(ErrorCode::invalid_argument, {"blocks", "quantized already"},
               [&] { quantize_checkpoint(folder_ / "blocks", child(), options); });
  for (const WeightFormat format : {WeightFormat::q8, WeightFormat::q4}) {
    options.weights = format;
    options.method = QuantizeMethod::search;
    for (const char* name : {"blocks", "floats"}) {
      quantize_checkpoint(folder_ / name, folder_ / (std::string(name) + "-q"), options);
    }
    EXPECT_TRUE(same_bits(all_logits(load(folder_ / "blocks-q")), all_logits(load(folder_ / "floats-q"))));
    // What the config said of the codes went with them.
    const auto config = BambaConfig::from_pretrained(folder_ / "blocks-q").extra_key("quantization_config");
    EXPECT_EQ(config->find("weight_block_size"), std::string::npos);
  }
}

TEST_F(Fp8Checkpoint, BrokenWeightsAreNamed) {
  make_parent(7, false);
  NamedTensors tensors;
  const Checkpoint source = Checkpoint::open(parent());
  for (const std::string& name : source.names()) tensors.emplace_back(name, source.tensor(name).clone());
  const auto down = std::find_if(tensors.begin(), tensors.end(), [](const auto& item) { return item.first == kDown; });
  static_cast<bf16_t*>(down->second.raw())[3] = to_bf16(std::nanf(""));
  save_safetensors(parent() / "model.safetensors", tensors);
  expect_error(ErrorCode::non_finite, {"parent", kDown, "nan"}, [&] { quantize(); });
  EXPECT_FALSE(std::filesystem::exists(child() / "config.json"));

  // A NaN among the codes.
  make_parent(7, false);
  quantize();
  tensors.clear();
  const Checkpoint coded = Checkpoint::open(child());
  for (const std::string& name : coded.names()) tensors.emplace_back(name, coded.tensor(name).clone());
  const auto codes = std::find_if(tensors.begin(), tensors.end(), [](const auto& item) { return item.first == kDown; });
  static_cast<uint8_t*>(codes->second.raw())[1] = 0xFF;
  save_safetensors(child() / "model.safetensors", tensors);
  expect_error(ErrorCode::non_finite, {"child", kDown, "[0, 1]", "NaN"}, [&] { load(child(), WeightFormat::fp8); });
}

}  // namespace
}  // namespace bamba::test
