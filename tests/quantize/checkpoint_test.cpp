// Quantized checkpoints: written, mapped, converted back, and refused when they are not what they say.
#include <bamba/model.h>
#include <bamba/quantize.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "base/file.h"
#include "base/json.h"
#include "io/checkpoint.h"
#include "model/random_model.h"
#include "support/all_logits.h"
#include "support/error.h"
#include "support/same_bits.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::q8, WeightFormat::q4};
constexpr const char* kDown = "model.layers.0.feed_forward.down_proj.weight";

RunOptions in(WeightFormat format) {
  RunOptions options;
  options.weights = format;
  return options;
}

/// A folder with a bf16 parent of random shape.
class Parent {
 public:
  explicit Parent(uint64_t seed, bool tied = false) {
    Rng rng(seed);
    BambaConfig config = random_config(rng);
    config.attn_layer_indices = {1};
    config.tie_word_embeddings = tied;
    config.dtype = DType::bf16;
    random_model(config, seed).save_pretrained(path(), {});
  }
  std::filesystem::path path() const { return folder_ / "parent"; }
  std::filesystem::path child(std::string_view name = "child") const { return folder_ / name; }

  std::filesystem::path quantize(QuantizeOptions options, std::string_view name = "child") const {
    options.threads = 2;
    quantize_checkpoint(path(), child(name), options);
    return child(name);
  }
  std::filesystem::path nearest(WeightFormat format) const {
    QuantizeOptions options;
    options.weights = format;
    options.method = QuantizeMethod::nearest;
    return quantize(options);
  }
  BambaConfig config() const { return BambaConfig::from_pretrained(path()); }

 private:
  TempFolder folder_;
};

std::vector<int64_t> text_for(const BambaConfig& config) {
  Rng rng(99);
  return rng.ids(300, config.vocab_size);
}

/// Rewrites the child's quantization_config.
template <typename Change>
void edit(const std::filesystem::path& folder, Change change) {
  Json config = parse_json(read_file(folder / "config.json", 1 << 20), "config.json", ErrorCode::invalid_config);
  change(config);
  write_text(folder / "config.json", config.dump());
}

TEST(QuantizedCheckpoint, NearestIsTheParentLoadedInThatFormat) {
  for (const WeightFormat format : kFormats) {
    for (const uint64_t seed : {1, 2, 3, 4}) {
      const Parent parent(seed, seed == 3);
      const auto child = parent.nearest(format);
      const auto loaded = BambaForCausalLM::from_pretrained(child);
      const auto expected = BambaForCausalLM::from_pretrained(parent.path(), in(format));
      EXPECT_EQ(loaded.model().info().weights, format);
      EXPECT_EQ(loaded.model().info().kv, expected.model().info().kv);
      EXPECT_EQ(loaded.model().info().weight_bytes, expected.model().info().weight_bytes);
      EXPECT_TRUE(same_bits(all_logits(loaded), all_logits(expected)))
          << weight_format_name(format) << ", seed " << seed;
      EXPECT_TRUE(same_bits(all_logits(BambaForCausalLM::from_pretrained(child, in(format))), all_logits(expected)));
    }
  }
}

TEST(QuantizedCheckpoint, ShardsAreAlignedAndReadAlike) {
  const Parent parent(5);
  QuantizeOptions options;
  options.method = QuantizeMethod::search;
  const auto whole = parent.quantize(options, "whole");
  options.max_shard_bytes = 20000;
  const auto cut = parent.quantize(options, "cut");
  EXPECT_TRUE(std::filesystem::exists(cut / "model.safetensors.index.json"));
  EXPECT_TRUE(same_bits(all_logits(BambaForCausalLM::from_pretrained(whole)),
                        all_logits(BambaForCausalLM::from_pretrained(cut))));
  for (const auto& folder : {whole, cut}) {
    const Checkpoint checkpoint = Checkpoint::open(folder);
    int packed = 0;
    for (const std::string& name : checkpoint.names()) {
      if (checkpoint.entry(name).dtype != DType::u8) continue;
      ++packed;
      // In memory too: a map begins at a page.
      EXPECT_EQ(reinterpret_cast<uintptr_t>(checkpoint.tensor(name).raw()) % 64, 0U) << name;
    }
    EXPECT_GT(packed, 8);
  }
}

/// How far the logits of quantized children are from their parents', several models together.
double distance_from_parents(const std::function<void(QuantizeOptions&)>& choose) {
  double sum = 0;
  for (const uint64_t seed : {21, 22, 23, 24, 25, 26, 27, 28}) {
    const Parent parent(seed);
    QuantizeOptions options;
    options.calibration = text_for(parent.config());
    options.window = 100;
    choose(options);
    const auto original = all_logits(BambaForCausalLM::from_pretrained(parent.path(), in(WeightFormat::f32)));
    const auto values = all_logits(BambaForCausalLM::from_pretrained(parent.quantize(options)));
    double square = 0;
    double off = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double difference = static_cast<double>(values[i]) - static_cast<double>(original[i]);
      off += difference * difference;
      square += static_cast<double>(original[i]) * static_cast<double>(original[i]);
    }
    sum += off / square;
  }
  return sum;
}

TEST(QuantizedCheckpoint, BetterMethodsLoseLess) {
  const double nearest = distance_from_parents([](QuantizeOptions& o) { o.method = QuantizeMethod::nearest; });
  const double search = distance_from_parents([](QuantizeOptions& o) { o.method = QuantizeMethod::search; });
  const double feedback = distance_from_parents([](QuantizeOptions& o) { o.method = QuantizeMethod::feedback; });
  const double one_pass = distance_from_parents([](QuantizeOptions& o) { o.sequential = false; });
  // Random weights make inputs that hardly go together, so there is less to gain than with a trained model.
  EXPECT_LT(search, 0.9 * nearest);
  EXPECT_LT(feedback, 0.9 * nearest);
  EXPECT_LT(one_pass, 0.9 * nearest);
}

TEST(QuantizedCheckpoint, OnlyChosenClassesArePacked) {
  const Parent parent(7);
  QuantizeOptions options;
  options.method = QuantizeMethod::nearest;
  const auto bf16 = BambaForCausalLM::from_pretrained(parent.path(), in(WeightFormat::bf16));
  const size_t all_bytes = BambaForCausalLM::from_pretrained(parent.quantize(options)).model().info().weight_bytes;
  const size_t bf16_bytes = bf16.model().info().weight_bytes;
  int64_t saved = 0;
  for (const std::string& name : quantizable_classes()) {
    options.only = {name};
    const auto child = parent.quantize(options);
    const Checkpoint checkpoint = Checkpoint::open(child);
    EXPECT_EQ(checkpoint.entry(kDown).dtype, name == "down" ? DType::u8 : DType::bf16) << name;
    const auto model = BambaForCausalLM::from_pretrained(child);
    // What is not packed stays bf16 in memory.
    saved += static_cast<int64_t>(bf16_bytes) - static_cast<int64_t>(model.model().info().weight_bytes);
    EXPECT_NE(all_logits(model), all_logits(bf16)) << name;
  }
  EXPECT_EQ(saved, static_cast<int64_t>(bf16_bytes) - static_cast<int64_t>(all_bytes));
  options.only = {"gates"};
  expect_error(ErrorCode::invalid_argument, {"\"gates\""}, [&] { parent.quantize(options); });
}

TEST(QuantizedCheckpoint, LoadsInOtherFormats) {
  for (const WeightFormat format : kFormats) {
    const Parent parent(8);
    const auto child = parent.nearest(format);
    const auto unpacked = BambaForCausalLM::from_pretrained(child, in(WeightFormat::f32));
    EXPECT_EQ(unpacked.model().info().weights, WeightFormat::f32);
    // Saving unpacks as well.
    SaveOptions save;
    save.dtype = DType::f32;
    BambaForCausalLM::from_pretrained(child).save_pretrained(parent.child("saved"), save);
    const auto saved = BambaForCausalLM::from_pretrained(parent.child("saved"));
    EXPECT_EQ(saved.model().info().weights, WeightFormat::f32);
    EXPECT_FALSE(saved.config().extra_key("quantization_config"));
    EXPECT_TRUE(same_bits(all_logits(unpacked), all_logits(saved)));
    // The 16 bits of bf16 change little.
    const auto again = all_logits(BambaForCausalLM::from_pretrained(child, in(WeightFormat::bf16)));
    const auto values = all_logits(unpacked);
    double worst = 0;
    double largest = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(values[i]) - static_cast<double>(again[i])));
      largest = std::max(largest, std::abs(static_cast<double>(values[i])));
    }
    EXPECT_LT(worst, 0.05 * largest);
  }
}

TEST(QuantizedCheckpoint, AnOlderModelIsReplaced) {
  const Parent parent(9);
  const auto child = parent.nearest(WeightFormat::q4);
  const auto before = all_logits(BambaForCausalLM::from_pretrained(child));
  // A run that fails while it reads leaves the older model.
  QuantizeOptions options;
  options.calibration = text_for(parent.config());
  options.method = QuantizeMethod::feedback;
  const std::string weights = read_text(parent.path() / "model.safetensors");
  const Checkpoint checkpoint = Checkpoint::open(parent.path());
  const SafetensorsEntry& entry = checkpoint.entry(kDown);
  std::string broken = weights;
  broken[entry.begin] = '\xFF';
  broken[entry.begin + 1] = '\x7F';  // 0x7FFF: a NaN in bf16
  write_text(parent.path() / "model.safetensors", broken);
  expect_error(ErrorCode::non_finite, {"parent", kDown, "nan"}, [&] { parent.quantize(options); });
  options.method = QuantizeMethod::nearest;
  expect_error(ErrorCode::non_finite, {"parent", kDown, "nan"}, [&] { parent.quantize(options); });
  EXPECT_TRUE(same_bits(all_logits(BambaForCausalLM::from_pretrained(child)), before));
  write_text(parent.path() / "model.safetensors", weights);
  options.method = QuantizeMethod::feedback;
  parent.quantize(options);
  EXPECT_NE(all_logits(BambaForCausalLM::from_pretrained(child)), before);
}

TEST(QuantizedCheckpoint, OptionsThatDoNotFit) {
  const Parent parent(10);
  const auto refuses = [&](std::initializer_list<std::string_view> words, const auto& change) {
    QuantizeOptions options;
    options.method = QuantizeMethod::nearest;
    change(options);
    expect_error(ErrorCode::invalid_argument, words, [&] { parent.quantize(options, "never"); });
  };
  refuses({"bf16", "q8 and q4"}, [](QuantizeOptions& o) { o.weights = WeightFormat::bf16; });
  refuses({"feedback needs a calibration text"}, [](QuantizeOptions& o) { o.method = QuantizeMethod::feedback; });
  refuses({"window is 0"}, [](QuantizeOptions& o) { o.window = 0; });
  refuses({"the id 100000"}, [](QuantizeOptions& o) { o.calibration = {1, 100000}; });
  refuses({"the id -1"}, [](QuantizeOptions& o) { o.calibration = {-1}; });
  EXPECT_FALSE(std::filesystem::exists(parent.child("never")));
  const auto child = parent.nearest(WeightFormat::q4);
  QuantizeOptions options;
  options.method = QuantizeMethod::nearest;
  expect_error(ErrorCode::invalid_argument, {"child", "quantized already"},
               [&] { quantize_checkpoint(child, parent.child("grandchild"), options); });
  expect_error(ErrorCode::invalid_argument, {"its own source"},
               [&] { quantize_checkpoint(parent.path(), parent.path(), options); });
}

/// One damage to a child, one message.
class Damaged : public ::testing::Test {
 protected:
  Parent parent_{11};
  std::filesystem::path child_ = parent_.nearest(WeightFormat::q4);

  void refused(ErrorCode code, std::initializer_list<std::string_view> words) const {
    expect_error(code, words, [&] { BambaForCausalLM::from_pretrained(child_); });
  }
  template <typename Change>
  void edit_quantization(Change change) const {
    edit(child_, [&](Json& config) { change(config["quantization_config"]); });
  }
};

TEST_F(Damaged, AnotherVersion) {
  edit_quantization([](Json& q) { q["version"] = 2; });
  refused(ErrorCode::invalid_config, {"child/config.json", "version is 2", "reads version 1"});
  edit_quantization([](Json& q) { q["version"] = "1"; });
  refused(ErrorCode::invalid_config, {"version is \"1\""});
  edit_quantization([](Json& q) { q.erase("version"); });
  refused(ErrorCode::invalid_config, {"quantization_config", "version is missing"});
}

TEST_F(Damaged, OtherLevelsOrGroups) {
  edit_quantization([](Json& q) { q["q4_levels"][3] = -59; });
  refused(ErrorCode::invalid_config, {"q4_levels is [-127", "-59"});
}

TEST_F(Damaged, OtherGroups) {
  edit_quantization([](Json& q) { q["group_size"]["q4"] = 64; });
  refused(ErrorCode::invalid_config, {"group_size is", "64", "this program's kernels read"});
}

TEST_F(Damaged, FormatsThatAreNone) {
  edit_quantization([](Json& q) { q["tensors"][kDown] = "q5"; });
  refused(ErrorCode::invalid_config, {kDown, "is \"q5\"", "\"q8\" or \"q4\""});
  edit_quantization([](Json& q) { q["tensors"][kDown] = "bf16"; });
  refused(ErrorCode::invalid_config, {kDown, "is \"bf16\""});
  edit_quantization([](Json& q) { q["tensors"] = Json::array(); });
  refused(ErrorCode::invalid_config, {"tensors is []"});
  edit_quantization([](Json& q) { q["weights"] = 4; });
  refused(ErrorCode::invalid_config, {"weights is 4"});
}

TEST_F(Damaged, ATensorOfAnotherFormat) {
  edit_quantization([](Json& q) { q["tensors"][kDown] = "q8"; });
  refused(ErrorCode::invalid_checkpoint, {"child", kDown, "as q8 of", "it must be U8 ["});
}

TEST_F(Damaged, ATensorThatIsNotNamed) {
  edit_quantization([](Json& q) { q["tensors"].erase(kDown); });
  refused(ErrorCode::invalid_checkpoint, {kDown, "has the shape"});
}

TEST_F(Damaged, TensorsThatCannotBePacked) {
  edit_quantization([](Json& q) { q["tensors"]["model.final_layernorm.weight"] = "q4"; });
  refused(ErrorCode::invalid_checkpoint, {"model.final_layernorm.weight", "only matrices"});
}

TEST_F(Damaged, TensorsOfNoModel) {
  edit_quantization([](Json& q) { q["tensors"]["model.layers.77.wings"] = "q4"; });
  refused(ErrorCode::invalid_checkpoint, {"\"model.layers.77.wings\"", "not part of this model"});
}

TEST_F(Damaged, NoQuantizationConfig) {
  edit(child_, [](Json& config) { config.erase("quantization_config"); });
  refused(ErrorCode::invalid_checkpoint, {"has the shape"});
  // Another program's is none of ours.
  edit(child_, [](Json& config) { config["quantization_config"] = {{"quant_method", "gptq"}}; });
  refused(ErrorCode::invalid_checkpoint, {"has the shape"});
}

TEST_F(Damaged, TruncatedFile) {
  const std::string weights = read_text(child_ / "model.safetensors");
  for (const size_t size : {weights.size() - 1, weights.size() / 2, size_t{100}, size_t{7}, size_t{0}}) {
    write_text(child_ / "model.safetensors", std::string_view(weights).substr(0, size));
    refused(ErrorCode::invalid_checkpoint, {"child/model.safetensors"});
  }
}

TEST_F(Damaged, AConfigOfOtherShapes) {
  edit(child_, [](Json& config) { config["intermediate_size"] = config["intermediate_size"].get<int64_t>() + 64; });
  refused(ErrorCode::invalid_checkpoint, {"feed_forward", "it must be U8 ["});
}

TEST_F(Damaged, AnyBytesAreSafeToMultiplyWith) {
  std::string weights = read_text(child_ / "model.safetensors");
  const Checkpoint checkpoint = Checkpoint::open(child_);
  std::mt19937_64 random(3);
  for (const std::string& name : checkpoint.names()) {
    const SafetensorsEntry& entry = checkpoint.entry(name);
    if (entry.dtype != DType::u8) continue;
    for (size_t i = 0; i < entry.bytes; ++i) weights[entry.begin + i] = static_cast<char>(random());
  }
  write_text(child_ / "noise.safetensors", weights);
  std::filesystem::rename(child_ / "noise.safetensors", child_ / "model.safetensors");
  const auto noise = BambaForCausalLM::from_pretrained(child_);
  const auto values = all_logits(noise);
  EXPECT_EQ(values.size(), static_cast<size_t>(40 * noise.config().vocab_size));
  EXPECT_FALSE(all_logits(BambaForCausalLM::from_pretrained(child_, in(WeightFormat::f32))).empty());
}

}  // namespace
}  // namespace bamba::test
