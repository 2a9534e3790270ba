// A BambaForCausalLM as the generation loops and the engine see it.
#pragma once

#include <bamba/model.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "generation/step_model.h"

namespace bamba {

/// Owns a SequenceState, or stands for one of the caller's.
class ModelState final : public StepState {
 public:
  explicit ModelState(SequenceState state) : own_(std::move(state)), state_(&own_) {}
  explicit ModelState(SequenceState* callers) : state_(callers) {}

  int64_t length() const override { return state_->length(); }
  std::unique_ptr<StepState> fork() const override { return std::make_unique<ModelState>(state_->fork()); }
  void visit_memory(FunctionRef<void(const void* address, size_t bytes)> visit) const override;
  HostSnapshot to_host() const override { return state_->to_host(); }
  SequenceState* get() { return state_; }

 private:
  SequenceState own_;
  SequenceState* state_;
};

/// `model` must outlive it. One thread at a time.
class ModelStep final : public StepModel {
 public:
  explicit ModelStep(const BambaForCausalLM& model) : model_(model) {}

  int64_t vocab_size() const override { return model_.config().vocab_size; }
  int threads() const override;
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) override;
  std::unique_ptr<StepState> new_state() override { return std::make_unique<ModelState>(model_.new_state()); }
  std::unique_ptr<StepState> from_host(const HostSnapshot& snapshot) override;
  size_t state_bytes(int64_t tokens) const override;
  std::string state_layout() const override;
  std::string identity() const override;
  std::span<float> forward(std::span<const StepInput> inputs) override;
  std::span<const int64_t> forward_best(std::span<const StepInput> inputs) override;
  bool draws_tokens() const override { return model_.model().draws_tokens(); }
  std::span<const int64_t> forward_drawn(std::span<const StepInput> inputs, std::span<const TokenDraw> draws) override;

 private:
  void run(std::span<const StepInput> inputs, const RaggedOptions& options);

  const BambaForCausalLM& model_;
  std::vector<SequenceInput> inputs_;
  RaggedOutput output_;
};

}  // namespace bamba
