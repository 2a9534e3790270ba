// generate() for a BambaForCausalLM.
#include <bamba/generation.h>

#include <utility>

#include "generation/run.h"

namespace bamba {
namespace {

/// Owns a SequenceState, or stands for one of the caller's.
class ModelState final : public StepState {
 public:
  explicit ModelState(SequenceState state) : own_(std::move(state)), state_(&own_) {}
  explicit ModelState(SequenceState* callers) : state_(callers) {}

  int64_t length() const override { return state_->length(); }
  std::unique_ptr<StepState> fork() const override { return std::make_unique<ModelState>(state_->fork()); }
  SequenceState* get() { return state_; }

 private:
  SequenceState own_;
  SequenceState* state_;
};

class CausalLMStep final : public StepModel {
 public:
  explicit CausalLMStep(const BambaForCausalLM& model) : model_(model) {}

  int64_t vocab_size() const override { return model_.config().vocab_size; }
  std::unique_ptr<StepState> new_state() override { return std::make_unique<ModelState>(model_.new_state()); }

  std::span<float> forward(std::span<const StepInput> inputs) override {
    run(inputs, {});
    return output_.logits ? output_.logits.data<float>() : std::span<float>();
  }
  std::span<const int64_t> forward_best(std::span<const StepInput> inputs) override {
    RaggedOptions options;
    options.best_ids_only = true;
    run(inputs, options);
    return output_.best_ids;
  }
  bool draws_tokens() const override { return model_.model().draws_tokens(); }
  std::span<const int64_t> forward_drawn(std::span<const StepInput> inputs, std::span<const TokenDraw> draws) override {
    RaggedOptions options;
    options.draws = draws;
    run(inputs, options);
    return output_.drawn_ids;
  }

 private:
  void run(std::span<const StepInput> inputs, const RaggedOptions& options) {
    inputs_.resize(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      inputs_[i].state = static_cast<ModelState*>(inputs[i].state)->get();
      inputs_[i].input_ids = inputs[i].ids;
      inputs_[i].logits = inputs[i].logits ? LogitsToKeep::last : LogitsToKeep::none;
    }
    model_.forward(inputs_, options, output_);
  }

  const BambaForCausalLM& model_;
  std::vector<SequenceInput> inputs_;
  RaggedOutput output_;
};

}  // namespace

GenerateResult generate(const BambaForCausalLM& model, std::span<const std::vector<int64_t>> prompts,
                        const GenerationConfig& config, const GenerateOptions& options) {
  CausalLMStep step(model);
  std::vector<std::unique_ptr<StepState>> states;
  for (SequenceState& state : options.states) {
    // An empty handle is a state that holds nothing yet.
    if (!state) state = model.new_state();
    states.push_back(std::make_unique<ModelState>(&state));
  }
  return generate_with(step, model.config(), prompts, config, options, TextTools::from(options.tokenizer),
                       std::move(states));
}

}  // namespace bamba
