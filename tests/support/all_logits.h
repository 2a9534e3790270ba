// What tests of checkpoints compare: the logits of a text that a seed gives.
#pragma once

#include <bamba/model.h>

#include <utility>
#include <vector>

#include "model/random_model.h"

namespace bamba::test {

/// [40 * vocab_size], of 40 random tokens.
inline std::vector<float> all_logits(const BambaForCausalLM& model, uint64_t seed = 1) {
  Rng rng(seed);
  const auto ids = rng.ids(40, model.config().vocab_size);
  SequenceState state = model.new_state();
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  input.logits = LogitsToKeep::all;
  const Tensor out = model.forward(std::span<const SequenceInput>(&input, 1)).logits;
  const auto values = out.data<float>();
  return {values.begin(), values.end()};
}

}  // namespace bamba::test
