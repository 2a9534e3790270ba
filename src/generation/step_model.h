// What the generation loops need from a model: advance a ragged batch, get logits. BambaForCausalLM is adapted to it
// in generate.cpp; tests script one.
#pragma once

#include <bamba/token_draw.h>

#include <cstdint>
#include <memory>
#include <span>

namespace bamba {

/// The state of one sequence (a SequenceState behind an interface).
class StepState {
 public:
  StepState() = default;
  virtual ~StepState() = default;
  StepState(const StepState&) = delete;
  StepState& operator=(const StepState&) = delete;

  virtual int64_t length() const = 0;
  virtual std::unique_ptr<StepState> fork() const = 0;
};

struct StepInput {
  StepState* state = nullptr;
  std::span<const int64_t> ids;
  bool logits = true;  ///< of the last token
};

class StepModel {
 public:
  StepModel() = default;
  virtual ~StepModel() = default;
  StepModel(const StepModel&) = delete;
  StepModel& operator=(const StepModel&) = delete;

  virtual int64_t vocab_size() const = 0;
  virtual std::unique_ptr<StepState> new_state() = 0;
  /// Advances every state. Returns [inputs with logits, vocab_size], in the inputs' order; the caller may change the
  /// values, and they live until the next call.
  virtual std::span<float> forward(std::span<const StepInput> inputs) = 0;
  /// The same, but returns only the token with the largest logit for each of these inputs, the lowest id of equals;
  /// where not all of its logits are finite, -1 - the id of the first that is not.
  virtual std::span<const int64_t> forward_best(std::span<const StepInput> inputs) = 0;
  /// Whether forward_drawn() works: where logits would have to be brought to the host.
  virtual bool draws_tokens() const = 0;
  /// The same, with a token drawn for each of these inputs; draws: one for each.
  virtual std::span<const int64_t> forward_drawn(std::span<const StepInput> inputs,
                                                 std::span<const TokenDraw> draws) = 0;
};

}  // namespace bamba
