// Models on either device, run side by side.
#pragma once

#include <bamba/model.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace bamba::test {

inline RunOptions options(const std::string& device, WeightFormat weights) {
  RunOptions run;
  run.device = device;
  run.threads = 2;
  run.weights = weights;
  run.kv = KvFormat::f32;
  run.scan = ScanForm::recurrent;
  if (device == "cuda") run.gpu_memory = size_t{1} << 30;
  return run;
}

/// Sequences that take turns in growing: each call gives every one of them some tokens.
class Batch {
 public:
  explicit Batch(const BambaForCausalLM& model) : model_(model) {}

  void add() { states_.push_back(model_.new_state()); }
  SequenceState& state(size_t i) { return states_[i]; }

  /// Logits of all new tokens.
  Tensor run(const std::vector<std::vector<int64_t>>& tokens) {
    std::vector<SequenceInput> inputs(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      inputs[i].state = &states_[i];
      inputs[i].input_ids = tokens[i];
      inputs[i].logits = LogitsToKeep::all;
    }
    return model_.forward(std::span<const SequenceInput>(inputs)).logits;
  }

 private:
  const BambaForCausalLM& model_;
  std::vector<SequenceState> states_;
};

inline double largest(const Tensor& tensor) {
  double out = 0;
  for (const float value : tensor.data<float>()) out = std::max(out, std::abs(static_cast<double>(value)));
  return out;
}

/// The largest one; infinite where one is NaN.
inline double difference(const Tensor& a, const Tensor& b) {
  const auto x = a.data<float>();
  const auto y = b.data<float>();
  EXPECT_EQ(x.size(), y.size());
  double out = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    out = std::isnan(d) ? INFINITY : std::max(out, d);
  }
  return out;
}

}  // namespace bamba::test
