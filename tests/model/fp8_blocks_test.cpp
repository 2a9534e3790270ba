// Checkpoints of fp8 weights with scales for blocks: what they load as, and what is refused.
#include <bamba/model.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/random_model.h"
#include "support/all_logits.h"
#include "support/error.h"
#include "support/fp8_blocks.h"
#include "support/same_bits.h"

namespace bamba::test {
namespace {

constexpr const char* kDown = "model.layers.0.feed_forward.down_proj.weight";

std::vector<float> logits(const std::filesystem::path& folder, std::optional<WeightFormat> weights = {}) {
  RunOptions run;
  run.weights = weights;
  run.threads = 2;
  return all_logits(BambaForCausalLM::from_pretrained(folder, run));
}

class Fp8Blocks : public ::testing::Test {
 protected:
  void make_parent(uint64_t seed, DType type) {
    Rng rng(seed);
    BambaConfig config = random_config(rng);
    config.attn_layer_indices = {1};
    config.dtype = type;
    random_model(config, seed).save_pretrained(folder_ / "parent", {});
  }
  Fp8BlockCheckpoint made(const Fp8Block& block, const std::string& suffix = "_scale_inv",
                          DType scale_type = DType::f32) const {
    return {folder_ / "parent", block, suffix, scale_type};
  }
  void expect_refused(const Fp8BlockCheckpoint& checkpoint, const std::string& quantization, ErrorCode code,
                      std::initializer_list<std::string_view> words) const {
    checkpoint.write_coded(folder_ / "coded", quantization);
    expect_error(code, words, [&] { logits(folder_ / "coded"); });
    expect_error(code, words, [&] { logits(folder_ / "coded", WeightFormat::fp8); });
  }

  TempFolder folder_;
};

TEST_F(Fp8Blocks, AreCodeTimesScale) {
  // Blocks that fit no side of the random matrices, blocks that are one row, and blocks larger than any matrix.
  uint64_t seed = 0;
  for (const Fp8Block& block : {Fp8Block{128, 128}, {5, 7}, {16, 32}, {1, 3}, {1, 1 << 20}, {INT64_MAX, INT64_MAX}}) {
    SCOPED_TRACE(std::to_string(block.rows) + " x " + std::to_string(block.cols));
    make_parent(++seed, DType::f32);
    const std::string sizes = "[" + std::to_string(block.rows) + ", " + std::to_string(block.cols) + "]";
    const DType scale_type = seed % 2 == 0 ? DType::bf16 : DType::f32;
    const Fp8BlockCheckpoint inverse = made(block, "_scale_inv", scale_type);
    inverse.write_plain(folder_ / "plain");
    inverse.write_coded(folder_ / "coded", weight_block_size(sizes));
    made(block, "_scale", scale_type).write_coded(folder_ / "compressed", block_structure(sizes));
    for (const std::optional<WeightFormat> weights :
         {std::optional<WeightFormat>{}, std::optional(WeightFormat::bf16), std::optional(WeightFormat::q8)}) {
      const auto expected = logits(folder_ / "plain", weights);
      EXPECT_TRUE(same_bits(logits(folder_ / "coded", weights), expected));
      EXPECT_TRUE(same_bits(logits(folder_ / "compressed", weights), expected));
    }
    // Codes and scales as they are, which the CPU holds as bf16, and all else in bf16 too.
    EXPECT_TRUE(same_bits(logits(folder_ / "coded", WeightFormat::fp8), logits(folder_ / "plain", WeightFormat::bf16)));
  }
}

TEST_F(Fp8Blocks, SomeMatricesMayHaveScalesForRows) {
  make_parent(7, DType::f32);
  Fp8BlockCheckpoint checkpoint = made({4, 8}, "_scale");
  Fp8BlockCheckpoint rows = made({1, 1 << 20}, "_scale");
  for (auto& [name, tensor] : checkpoint.coded()) {
    if (name.starts_with(kDown)) tensor = rows.find(name)->second;
  }
  const std::string groups = R"({"config_groups": {"a": {"weights": {"strategy": "block", "block_structure": [4, 8]}},)"
                             R"("b": {"weights": {"strategy": "channel"}}}})";
  checkpoint.write_coded(folder_ / "coded", groups);
  EXPECT_NO_THROW(logits(folder_ / "coded"));
  checkpoint.write_plain(folder_ / "blocks");
  EXPECT_FALSE(same_bits(logits(folder_ / "coded"), logits(folder_ / "blocks")));
  // Where all are said to have blocks, one without is a mistake.
  expect_refused(checkpoint, block_structure("[4, 8]"), ErrorCode::invalid_checkpoint,
                 {std::string(kDown) + "_scale", "blocks of 4 x 8"});
}

TEST_F(Fp8Blocks, WhatDoesNotFitIsNamed) {
  make_parent(8, DType::bf16);
  const std::string scale = std::string(kDown) + "_scale_inv";
  const std::string blocks = weight_block_size("[16, 16]");
  {
    Fp8BlockCheckpoint checkpoint = made({16, 16});
    expect_refused(checkpoint, weight_block_size("[16, 8]"), ErrorCode::invalid_checkpoint,
                   {"coded", "weight_scale_inv", "16 x 8"});
    expect_refused(checkpoint, weight_block_size("[16, 0]"), ErrorCode::invalid_config, {"config.json", "[16,0]"});
    expect_refused(checkpoint, "", ErrorCode::invalid_checkpoint, {"weight_scale_inv", "weight_block_size"});
    checkpoint.coded().erase(checkpoint.find(scale));
    expect_refused(checkpoint, blocks, ErrorCode::invalid_checkpoint, {kDown, "missing"});
  }
  const auto with_scale = [&](const Tensor& tensor) {
    Fp8BlockCheckpoint checkpoint = made({16, 16});
    checkpoint.find(scale)->second = tensor;
    return checkpoint;
  };
  Fp8BlockCheckpoint good = made({16, 16});
  const Shape shape = good.find(scale)->second.shape();
  for (const Shape& wrong : {Shape{shape[0] + 1, shape[1]}, Shape{shape[0] * shape[1]}, Shape{}, Shape{1},
                             Shape{shape[0], shape[1], 1}, Shape{0, shape[1]}, Shape{shape[1] + 1, shape[0]}}) {
    expect_refused(with_scale(Tensor::zeros(DType::f32, wrong)), blocks, ErrorCode::invalid_checkpoint,
                   {scale, "it must be", "blocks of 16 x 16"});
  }
  expect_refused(with_scale(Tensor::zeros(DType::i64, shape)), blocks, ErrorCode::invalid_checkpoint, {scale, "I64"});
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    Tensor scales = good.find(scale)->second.clone();
    scales.data<float>().back() = bad;
    expect_refused(with_scale(scales), blocks, ErrorCode::non_finite, {"coded", scale});
  }
  {
    Fp8BlockCheckpoint checkpoint = good;
    checkpoint.coded().emplace_back(std::string(kDown) + "_scale", Tensor::zeros(DType::f32, shape));
    expect_refused(checkpoint, blocks, ErrorCode::invalid_checkpoint, {std::string(kDown) + "_scale", "not part of"});
  }
  {
    Fp8BlockCheckpoint checkpoint = good;
    checkpoint.coded().emplace_back("model.norm_scale_inv", Tensor::zeros(DType::f32, shape));
    expect_refused(checkpoint, blocks, ErrorCode::invalid_checkpoint, {"model.norm_scale_inv", "not part of"});
  }
  // A NaN among the codes is found where they are taken as they are.
  Fp8BlockCheckpoint broken = good;
  Tensor codes = broken.find(kDown)->second.clone();
  static_cast<uint8_t*>(codes.raw())[1] = 0x7F;
  broken.find(kDown)->second = codes;
  broken.write_coded(folder_ / "coded", blocks);
  expect_error(ErrorCode::non_finite, {kDown, "[0, 1]", "NaN"}, [&] { logits(folder_ / "coded", WeightFormat::fp8); });
}

TEST_F(Fp8Blocks, CutFilesAreErrors) {
  make_parent(9, DType::f32);
  made({16, 16}).write_coded(folder_ / "coded", weight_block_size("[16, 16]"));
  const auto file = folder_ / "coded" / "model.safetensors";
  const std::string whole = read_text(file);
  for (size_t cut = 1; cut <= 16; ++cut) {
    write_text(file, std::string_view(whole).substr(0, whole.size() * cut / 17));
    expect_error(ErrorCode::invalid_checkpoint, {"model.safetensors"}, [&] { logits(folder_ / "coded"); });
  }
}

}  // namespace
}  // namespace bamba::test
