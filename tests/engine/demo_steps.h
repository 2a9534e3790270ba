// The demo model as the engine sees it, for tests of what is kept of its states.
#pragma once

#include <bamba/model.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "generation/model_step.h"

namespace bamba::test {

using Ids = std::vector<int64_t>;

class DemoSteps {
 public:
  explicit DemoSteps(std::optional<KvFormat> kv = {})
      : model(BambaForCausalLM::from_pretrained(BAMBA_DEMO_MODEL, options(kv))), step(model) {}

  /// A text of the model's ids; another for each seed, with the same first 5.
  Ids text(uint64_t seed, int64_t length) const {
    Ids ids;
    uint64_t x = 1;
    for (int64_t i = 0; i < length; ++i) {
      if (i == 5) x += seed * 7919;
      x = x * 6364136223846793005U + 1442695040888963407U;
      ids.push_back(static_cast<int64_t>((x >> 33) % static_cast<uint64_t>(model.config().vocab_size)));
    }
    return ids;
  }
  /// Advances `state` by `ids`; the logits after the last.
  std::vector<float> read(StepState& state, std::span<const int64_t> ids) {
    StepInput input;
    input.state = &state;
    input.ids = ids;
    const std::span<float> logits = step.forward({&input, 1});
    return {logits.begin(), logits.end()};
  }
  std::unique_ptr<StepState> state_of(std::span<const int64_t> ids) {
    auto state = step.new_state();
    read(*state, ids);
    return state;
  }
  /// What a cold start gives for the whole text.
  std::vector<float> cold(std::span<const int64_t> ids) { return read(*step.new_state(), ids); }

  BambaForCausalLM model;
  ModelStep step;

 private:
  static RunOptions options(std::optional<KvFormat> kv) {
    RunOptions out;
    out.threads = 1;
    out.kv = kv;
    return out;
  }
};

}  // namespace bamba::test
