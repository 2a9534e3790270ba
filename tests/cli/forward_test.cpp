// bamba forward: held against the goldens through the program, and one way of running against another.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cli/program.h"
#include "io/safetensors.h"
#include "support/golden_path.h"
#include "support/temp_folder.h"

namespace bamba::test {
namespace {

const std::string kModel = golden_path("a_base");

Tensor golden(const std::string& name) {
  static const SafetensorsFile file = SafetensorsFile::open(kModel + "/expected.safetensors");
  return file.tensor(name);
}

/// Runs the program on these inputs and keeps what it wrote.
class Forward {
 public:
  Forward(const NamedTensors& inputs, const std::vector<std::string>& more) {
    save_safetensors(folder_ / "in.safetensors", inputs);
    std::vector<std::string> args = {
        "forward", "-m", kModel, "--input", folder_ / "in.safetensors", "-o", folder_ / "out.safetensors"};
    args.insert(args.end(), more.begin(), more.end());
    result_ = run_bamba(args);
    if (result_.exit_code != 0) throw std::runtime_error(result_.err);
    file_ = SafetensorsFile::open(folder_ / "out.safetensors");
  }
  Tensor operator[](const std::string& name) const { return file_->tensor(name); }
  const SafetensorsHeader& header() const { return file_->header(); }

 private:
  TempFolder folder_;
  ProgramResult result_;
  std::optional<SafetensorsFile> file_;
};

double at(const Tensor& tensor, int64_t i) {
  const auto index = static_cast<size_t>(i);
  return tensor.dtype() == DType::f64 ? tensor.data<double>()[index] : static_cast<double>(tensor.data<float>()[index]);
}

/// The project's bound for f32 against the float64 reference: 2e-5 of the largest value. float32 itself is off by
/// 4e-7 of it here (8e-6 on logits of about 20; cases.json), so a wrong term shows and rounding does not.
void expect_close(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  double largest = 0;
  double worst = 0;
  for (int64_t i = 0; i < actual.numel(); ++i) {
    largest = std::max(largest, std::abs(at(expected, i)));
    worst = std::max(worst, std::abs(at(actual, i) - at(expected, i)));
  }
  EXPECT_LE(worst, 2e-5 * largest) << what;
}

void expect_same_bits(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.describe(), b.describe()) << what;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.nbytes()), 0) << what;
}

void expect_same_files(const Forward& a, const Forward& b, const std::string& what) {
  ASSERT_EQ(a.header().tensors.size(), b.header().tensors.size()) << what;
  for (const auto& entry : a.header().tensors) expect_same_bits(a[entry.first], b[entry.first], what + entry.first);
}

const std::vector<std::string> kEverything = {"--hidden-states", "--attentions", "--cache"};

std::vector<std::string> everything_and(const std::vector<std::string>& more) {
  std::vector<std::string> all = kEverything;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Forward, MatchesTransformers) {
  const Forward run({{"input_ids", golden("forward_17/input_ids")}}, everything_and({}));
  expect_close(run["logits"], golden("forward_17/logits_f64"), "logits");
  for (int i = 0; i <= 4; ++i) {
    const std::string name = "hidden_states." + std::to_string(i);
    expect_close(run[name], golden("forward_17/" + name), name);
  }
  for (const std::string name : {"attentions.1", "attentions.3"}) {
    expect_close(run[name], golden("forward_17/" + name), name);
  }
}

TEST(Forward, LongerThanAChunkBothScans) {
  const NamedTensors inputs = {{"input_ids", golden("forward_53/input_ids")}};
  expect_close(Forward(inputs, {})["logits"], golden("forward_53/logits_f64"), "recurrent");
  expect_close(Forward(inputs, {"--scan", "chunked"})["logits"], golden("forward_53/logits_f64"), "chunked");
}

TEST(Forward, EmbeddingsInsteadOfIds) {
  const Forward run({{"inputs_embeds", golden("inputs_embeds/inputs_embeds")}}, {});
  expect_close(run["logits"], golden("inputs_embeds/logits_f64"), "logits");
}

TEST(Forward, AnyCutIsTheSame) {
  const NamedTensors inputs = {{"input_ids", golden("forward_53/input_ids")}};
  const Forward whole(inputs, everything_and({}));
  for (const std::vector<std::string>& cut : std::vector<std::vector<std::string>>{
           {"--chunk", "1"}, {"--chunk", "7"}, {"--cached-steps", "53"}, {"--cached-steps", "5", "--chunk", "16"}}) {
    const Forward pieces(inputs, everything_and(cut));
    expect_same_files(whole, pieces, cut[0] + " " + cut[1] + ": ");
  }
}

TEST(Forward, CachedStepsMatchTransformers) {
  const Forward run({{"input_ids", golden("cached/input_ids")}, {"position_ids", golden("cached/position_ids")}},
                    {"--cached-steps", "6", "--cache"});
  expect_close(run["cache.0.ssm_state"], golden("cached/cache.0.ssm_state"), "ssm_state");
  expect_close(run["cache.0.conv_state"], golden("cached/cache.0.conv_state"), "conv_state");
  expect_close(run["cache.1.key"], golden("cached/cache.1.key"), "key");
  expect_close(run["cache.1.value"], golden("cached/cache.1.value"), "value");
}

TEST(Forward, PaddedRowsAnyCut) {
  for (const std::string side : {"left", "right"}) {
    const std::string name = "padded_" + side + "_mask_positions/";
    const Tensor mask = golden(name + "attention_mask");
    const NamedTensors inputs = {{"input_ids", golden(name + "input_ids")},
                                 {"attention_mask", mask},
                                 {"position_ids", golden(name + "position_ids")}};
    const Forward whole(inputs, everything_and({}));
    const Tensor expected = golden(name + "logits_f64");
    const Tensor logits = whole["logits"];
    const int64_t vocab = logits.dim(2);
    double largest = 0;
    double worst = 0;
    for (int64_t i = 0; i < logits.numel(); ++i) {
      if (mask.data<int64_t>()[static_cast<size_t>(i / vocab)] == 0) continue;
      largest = std::max(largest, std::abs(at(expected, i)));
      worst = std::max(worst, std::abs(at(logits, i) - at(expected, i)));
    }
    EXPECT_LE(worst, 2e-5 * largest) << side;
    // A piece may hold nothing but padding in some row.
    expect_same_files(whole, Forward(inputs, everything_and({"--chunk", "3"})), side + " --chunk 3: ");
    expect_same_files(whole, Forward(inputs, everything_and({"--cached-steps", "4"})), side + " --cached-steps 4: ");
  }
}

TEST(Forward, LossIsTheSameInPieces) {
  const NamedTensors inputs = {{"input_ids", golden("loss/input_ids")}, {"labels", golden("loss/labels")}};
  const Forward whole(inputs, {});
  expect_close(whole["loss"], golden("loss/loss_f64"), "loss");
  expect_same_bits(whole["loss"], Forward(inputs, {"--chunk", "5"})["loss"], "loss in pieces");
}

TEST(Forward, LogitsToKeep) {
  const NamedTensors inputs = {{"input_ids", golden("logits_to_keep/input_ids")}};
  const Forward kept(inputs, {"--logits-to-keep", "3"});
  expect_close(kept["logits"], golden("logits_to_keep/logits_keep_3"), "last three");
  expect_same_bits(kept["logits"], Forward(inputs, {"--logits-to-keep", "3", "--chunk", "2"})["logits"], "in pieces");
}

TEST(Forward, WrongInputsAreNamed) {
  const TempFolder folder;
  const auto exit_code = [&](const NamedTensors& inputs, const std::string& word) {
    save_safetensors(folder / "in.safetensors", inputs);
    const ProgramResult result =
        run_bamba({"forward", "-m", kModel, "--input", folder / "in.safetensors", "-o", folder / "out.safetensors"});
    EXPECT_NE(result.err.find(word), std::string::npos) << result.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "out.safetensors"));
    return result.exit_code;
  };
  const std::vector<int64_t> ids = {1, 2, 3, 4};
  const std::vector<int64_t> wild = {1, 2, 3, 259};
  const Tensor good = Tensor::from(ids, {1, 4});
  EXPECT_EQ(exit_code({{"ids", good}}, "ids"), 3);
  EXPECT_EQ(exit_code({{"attention_mask", good}}, "input_ids"), 3);
  EXPECT_EQ(exit_code({{"input_ids", Tensor::from(ids, {4})}}, "[batch, seq]"), 3);
  EXPECT_EQ(exit_code({{"input_ids", good}, {"attention_mask", Tensor::from(ids, {2, 2})}}, "attention_mask"), 3);
  EXPECT_EQ(exit_code({{"input_ids", Tensor::from(wild, {1, 4})}}, "259"), 2);
  EXPECT_EQ(exit_code({{"input_ids", good}, {"labels", Tensor::from(wild, {1, 4})}}, "259"), 2);
}

}  // namespace
}  // namespace bamba::test
