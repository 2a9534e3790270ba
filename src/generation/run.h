// One call of generate(): what its prompts, the loops and the result share.
#pragma once

#include <bamba/generation.h>

#include <memory>
#include <span>
#include <vector>

#include "base/stopwatch.h"
#include "generation/step_model.h"
#include "generation/text.h"

namespace bamba {

struct PromptRun {
  int64_t index = 0;
  std::vector<int64_t> ids;
  int64_t max_length = 0;  ///< prompt and new tokens together
  std::unique_ptr<StepState> state;
};

class Run {
 public:
  /// Everything passed must outlive the run.
  Run(StepModel& model, const GenerationConfig& config, const GenerateOptions& options, const TextTools& tools,
      const StopRules& rules)
      : model_(model), config_(config), options_(options), tools_(tools), rules_(rules) {}

  const GenerationConfig& config() const { return config_; }
  const GenerateOptions& options() const { return options_; }
  const StopRules& rules() const { return rules_; }
  StepModel& model() const { return model_; }
  size_t vocab_size() const { return static_cast<size_t>(model_.vocab_size()); }
  TextStream new_text() const { return {tools_, rules_}; }

  /// Has the caller asked to stop?
  bool cancelled() const;
  /// Shows a token to the caller's stream.
  void emit(const StreamEvent& event);

  /// Runs the prompts' tokens that their states do not hold yet, in pieces of prefill_chunk_size. Returns the logits
  /// after each prompt [prompts, vocab_size], or an empty span when cancelled.
  std::span<float> read_prompts(std::span<PromptRun> prompts);
  std::span<float> forward(std::span<const StepInput> inputs) { return model_.forward(inputs); }
  std::span<const int64_t> forward_best(std::span<const StepInput> inputs) { return model_.forward_best(inputs); }
  bool draws_tokens() const { return model_.draws_tokens(); }
  std::span<const int64_t> forward_drawn(std::span<const StepInput> inputs, std::span<const TokenDraw> draws) {
    return model_.forward_drawn(inputs, draws);
  }

  /// Counts a chosen token.
  void count_token();
  GenerateTiming finish_timing();

 private:
  StepModel& model_;
  const GenerationConfig& config_;
  const GenerateOptions& options_;
  const TextTools& tools_;
  const StopRules& rules_;
  bool stream_cancelled_ = false;
  GenerateTiming timing_;
  Stopwatch watch_;  // of the whole call
  Stopwatch since_prompts_;
};

/// Greedy search and sampling. Appends num_return_sequences results for each prompt.
void decode(Run& run, std::vector<PromptRun>& prompts, std::vector<GeneratedSequence>& out);

/// Beam search, with or without sampling. Appends num_return_sequences results for each prompt, best first.
void beam_search(Run& run, std::vector<PromptRun>& prompts, std::vector<GeneratedSequence>& out);

/// generate() over any step model. `states` is empty or holds a state for each prompt.
GenerateResult generate_with(StepModel& model, const BambaConfig& model_config,
                             std::span<const std::vector<int64_t>> prompts, const GenerationConfig& config,
                             const GenerateOptions& options, const TextTools& tools,
                             std::vector<std::unique_ptr<StepState>> states);

}  // namespace bamba
