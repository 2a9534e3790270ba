// One sequence as it grows, and what chooses its tokens from rows of logits. generate() and the engine both use these,
// so that a request gets the same tokens either way.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
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

/// Chooses tokens from rows of logits. Its buffers live as long as it does.
class Chooser {
 public:
  /// Both must outlive the chooser.
  Chooser(const GenerationConfig& config, std::span<const LogitsProcessor> processors,
          const std::optional<Constraint>& constraint = {})
      : config_(config), processors_(config, processors, constraint), warpers_(WarperSettings::from(config)) {}

  /// Makes the row of logits after this sequence's tokens ready for choose(). The row may be changed, and is read until
  /// the next call.
  void prepare(const Sequence& sequence, std::span<float> row);
  /// Whether the likeliest token of the model is always the one, and nothing else is asked about it.
  bool takes_the_best() const { return !config_.do_sample && !config_.output_logprobs && processors_.is_empty(); }
  /// In place of prepare(): choose() gives this token.
  void set_best(const Sequence& sequence, int64_t token);

  int64_t choose(const Sequence& sequence);
  TokenLogprob logprob(int64_t token) { return token_logprob(row_, log_sum_, token, config_.top_logprobs, selector_); }
  const GenerationConfig& config() const { return config_; }

 private:
  const GenerationConfig& config_;
  ProcessorChain processors_;
  Warpers warpers_;
  Sampler sampler_;
  TopSelector selector_;
  std::span<const float> row_;
  int64_t step_ = 0;
  int64_t best_ = -1;
  double log_sum_ = 0;
  std::vector<float> processed_;
  std::span<const Candidate> candidates_;
};

/// Takes the next token of a sequence that the chooser was prepared for, and finds out whether it is the last.
void append_token(Chooser& chooser, const StopRules& rules, Sequence& sequence);

/// What a listener hears of the token that append_token took last. Refers to the sequence.
StreamEvent stream_event(const Sequence& sequence);

/// What the sequence came to; one that has not finished is cancelled.
GeneratedSequence take_result(Sequence& sequence);

/// Throws Error(non_finite) that names the step and the sequence when a model's logits are not all finite.
void check_logits(std::span<const float> logits, int64_t prompt, int64_t sequence, int64_t step);

}  // namespace bamba
