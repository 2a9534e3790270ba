// One sequence as it grows, and what chooses its tokens from rows of logits. generate() and the engine both use these,
// so that a request gets the same tokens either way.
#pragma once

#include <bamba/generation.h>
#include <bamba/token_draw.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "generation/processors.h"
#include "generation/sampler.h"
#include "generation/step_model.h"
#include "generation/text.h"
#include "generation/warpers.h"

namespace bamba {

struct Sequence {
  explicit Sequence(TextStream stream) : text(std::move(stream)) {}

  int64_t sequence_index = 0;
  size_t prompt_length = 0;
  int64_t max_length = 0;
  std::vector<int64_t> ids;  // the prompt included
  std::unique_ptr<StepState> state;
  TextStream text;
  std::optional<FinishReason> finished;
  GeneratedSequence result;
};

Sequence new_sequence(TextStream text, int64_t prompt_index, int64_t sequence_index, std::vector<int64_t> prompt_ids,
                      int64_t max_length);

/// What a row of logits came to for one sequence.
struct Choice {
  int64_t token = -1;
  std::optional<TokenLogprob> logprob;  ///< with output_logprobs
  std::exception_ptr error;             ///< in place of both
};

/// Working memory for one row at a time, whichever chooser's. It lives on, so that a step allocates nothing.
struct ChoiceMemory {
  Warpers warpers;
  Sampler sampler;
  TopSelector selector;
  std::vector<float> processed;
  std::vector<uint32_t> counts;
};

/// Chooses tokens from rows of logits; row_chooser.h does so for all rows of a step. What is const may be called by
/// several threads at once, each with a row and a memory of its own.
class Chooser {
 public:
  /// Both must outlive the chooser.
  Chooser(const GenerationConfig& config, std::span<const LogitsProcessor> processors,
          const std::optional<Constraint>& constraint = {})
      : config_(config), processors_(config, processors, constraint), warper_settings_(WarperSettings::from(config)) {}

  /// Whether the likeliest token of the model is always the one, and nothing else is asked about it.
  bool takes_the_best() const { return !config_.do_sample && !config_.output_logprobs && processors_.is_empty(); }
  /// Whether a TokenDraw says all about how a token is chosen.
  bool only_draws() const {
    return takes_the_best() || (config_.do_sample && !config_.output_logprobs && processors_.is_empty() &&
                                config_.typical_p >= 1.0 && config_.epsilon_cutoff <= 0 && config_.eta_cutoff <= 0);
  }
  /// The draw of the token after this sequence's.
  TokenDraw draw_for(const Sequence& sequence) const;
  /// The model's own choice: a token, or negative, as forward_best has it.
  Choice choice_of_model(const Sequence& sequence, int64_t token) const;

  // From the row of logits after a sequence's tokens to the next one, in this order. The row may be changed.
  /// Checks the logits and applies the built-in processors.
  void prepare(const Sequence& sequence, std::span<float> row, ChoiceMemory& memory) const;
  /// The caller's own processors and the constraint, where there are any.
  void call_callers(const Sequence& sequence, std::span<float> row);
  bool has_callers() const { return processors_.has_callers(); }
  /// A token for each of these sequences, which share all their tokens so far.
  void choose(std::span<const Sequence> sequences, std::span<float> row, ChoiceMemory& memory,
              std::span<Choice> choices) const;

 private:
  const GenerationConfig& config_;
  ProcessorChain processors_;
  WarperSettings warper_settings_;
};

/// Takes the next token of a sequence, and finds out whether it is the last. Throws the choice's error if it has one.
void append_token(Choice& choice, const StopRules& rules, Sequence& sequence);

/// What a listener hears of the token that append_token took last. Refers to the sequence.
StreamEvent stream_event(const Sequence& sequence);

/// What the sequence came to; one that has not finished is cancelled.
GeneratedSequence take_result(Sequence& sequence);

/// Throws Error(non_finite) that names the step and the sequence when a model's logits are not all finite.
void check_logits(std::span<const float> logits, int64_t prompt, int64_t sequence, int64_t step);

}  // namespace bamba
