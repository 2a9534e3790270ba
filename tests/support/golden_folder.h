// A folder of tests/golden: a tiny model, inputs, and what Transformers answered.
#pragma once

#include <bamba/model.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/str.h"
#include "io/safetensors.h"
#include "support/golden_path.h"

namespace bamba::test {

/// Where BAMBA_TEST_DEVICE says that tests run.
inline RunOptions on_test_device(RunOptions options = {}) {
  if (const char* device = std::getenv("BAMBA_TEST_DEVICE")) {
    options.device = device;
    // A small share of a GPU's memory, as there are many models.
    if (options.device == "cuda") options.gpu_memory = size_t{1} << 30;
  }
  return options;
}

class GoldenFolder {
 public:
  explicit GoldenFolder(const std::string& name)
      : name_(name),
        file_(SafetensorsFile::open(golden_path(name) / "expected.safetensors")),
        cases_(parse_json_file(golden_path(name) / "cases.json", ErrorCode::invalid_file)["cases"]) {}

  /// All weights in f32: what the references were computed with.
  BambaForCausalLM load(RunOptions options = {}) const {
    if (!options.weights) options.weights = WeightFormat::f32;
    return BambaForCausalLM::from_pretrained(golden_path(name_), on_test_device(options));
  }

  /// The cases of a kind; all kinds for "".
  std::vector<Json> cases(const std::string& kind) const {
    std::vector<Json> found;
    for (const Json& item : cases_) {
      if (kind.empty() || item["kind"] == kind) found.push_back(item);
    }
    return found;
  }

  bool has(const Json& item, const std::string& tensor) const { return file_.contains(key(item, tensor)); }
  /// Floating tensors come as f64, integers as they are; a missing one is an empty Tensor.
  Tensor get(const Json& item, const std::string& tensor) const {
    if (!has(item, tensor)) return {};
    const Tensor stored = file_.tensor(key(item, tensor));
    return stored.dtype() == DType::i64 ? stored : stored.to(DType::f64);
  }

  /// f64 reference where there is one, else Transformers' f32. `suffix` is ".3" for the case's fourth call.
  Tensor logits(const Json& item, const std::string& suffix = "") const {
    const Tensor exact = get(item, "logits_f64" + suffix);
    return exact ? exact : get(item, "logits" + suffix);
  }

 private:
  static std::string key(const Json& item, const std::string& tensor) {
    return item["name"].get<std::string>() + "/" + tensor;
  }

  std::string name_;
  SafetensorsFile file_;
  Json cases_;
};

/// Of the largest reference value. f32 arithmetic itself is off by up to 1e-6 of it in these models (cases.json,
/// max_abs_fp32_minus_f64); twenty times that leaves room for another order of sums and for nothing else.
constexpr double kRelativeTolerance = 2e-5;

/// Compares where `mask` (of the leading dimensions; empty: everywhere) is 1.
inline void expect_close(const Tensor& actual, const Tensor& expected, const std::string& what,
                         const std::vector<bool>& mask = {}) {
  ASSERT_TRUE(expected) << what << ": no reference";
  ASSERT_TRUE(actual) << what << ": no result";
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  const auto reference = expected.data<double>();
  const auto values = actual.data<float>();
  const size_t width = mask.empty() ? 1 : values.size() / mask.size();
  double largest = 0;
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!mask.empty() && !mask[i / width]) continue;
    largest = std::max(largest, std::abs(reference[i]));
    const double error = std::abs(static_cast<double>(values[i]) - reference[i]);
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  EXPECT_LE(worst, kRelativeTolerance * largest)
      << what << ": element " << at << " is " << values[at] << ", expected " << reference[at];
}

/// Columns [first, first + count) of an [batch, seq] tensor.
inline Tensor columns(const Tensor& tensor, int64_t first, int64_t count) {
  if (!tensor) return {};
  const int64_t seq = tensor.dim(1);
  std::vector<int64_t> out;
  for (int64_t b = 0; b < tensor.dim(0); ++b) {
    for (int64_t t = first; t < first + count; ++t) {
      out.push_back(tensor.data<int64_t>()[static_cast<size_t>(b * seq + t)]);
    }
  }
  return Tensor::from(std::span<const int64_t>(out), {tensor.dim(0), count});
}

/// attention_mask as flags; empty without one.
inline std::vector<bool> flags(const Tensor& mask) {
  std::vector<bool> out;
  if (mask) {
    for (const int64_t value : mask.data<int64_t>()) out.push_back(value == 1);
  }
  return out;
}

inline std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace bamba::test
