// generate() for a BambaForCausalLM.
#include <bamba/generation.h>

#include <utility>

#include "generation/model_step.h"
#include "generation/run.h"

namespace bamba {
GenerateResult generate(const BambaForCausalLM& model, std::span<const std::vector<int64_t>> prompts,
                        const GenerationConfig& config, const GenerateOptions& options) {
  ModelStep step(model);
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
