// What the generation loops and the engine need from a model: advance a ragged batch, get logits, keep states.
// BambaForCausalLM is adapted to it in model_step.cpp; tests script one.
#pragma once

#include <bamba/sequence_state.h>
#include <bamba/token_draw.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/function_ref.h"

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
  /// Every piece of memory that the state refers to, shared with forks or not; each address once. See MemoryLedger.
  virtual void visit_memory(FunctionRef<void(const void* address, size_t bytes)> visit) const = 0;
  /// SequenceState::to_host().
  virtual HostSnapshot to_host() const = 0;

  /// Bytes of memory this state refers to; memory shared with forks counts in each of them.
  size_t bytes() const {
    size_t total = 0;
    visit_memory([&](const void* /*address*/, size_t bytes) { total += bytes; });
    return total;
  }
};

struct StepInput {
  StepState* state = nullptr;
  std::span<const int64_t> ids;
  bool logits = true;       ///< of the last token
  bool all_logits = false;  ///< of every token, whatever `logits` says
};

class StepModel {
 public:
  StepModel() = default;
  virtual ~StepModel() = default;
  StepModel(const StepModel&) = delete;
  StepModel& operator=(const StepModel&) = delete;

  virtual int64_t vocab_size() const = 0;
  /// Threads of parallel_for(), the calling one among them.
  virtual int threads() const { return 1; }
  /// Runs body(task, thread) once for each task in [0, tasks), each on any thread in [0, threads()); returns when all
  /// are done. A body throws nothing and starts no such loop itself.
  virtual void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
  }
  virtual std::unique_ptr<StepState> new_state() = 0;
  /// BambaModel::restore().
  virtual std::unique_ptr<StepState> from_host(const HostSnapshot& snapshot) = 0;
  /// What the layout of a snapshot's bytes is called; from_host() takes no other.
  virtual std::string state_layout() const = 0;
  /// All that a state's bits depend on, as a text; only a model with the same may go on from it. Not quick.
  virtual std::string identity() const = 0;
  /// Memory that a state of its own takes when it holds so many tokens.
  virtual size_t state_bytes(int64_t tokens) const = 0;
  /// Advances every state. Returns [tokens with logits, vocab_size], in the inputs' order; the caller may change the
  /// values, and they live until the next call. When it throws Error(out_of_memory), no state has changed.
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
