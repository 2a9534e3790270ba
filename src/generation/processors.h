// Logits processors: the rules that change scores before anything is chosen, in greedy search as in sampling and
// beam search. Names and arithmetic (f32) are those of Transformers' processors of the same names.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "constraint/constraint_tracker.h"

namespace bamba {

/// score > 0 is divided by the penalty, score < 0 multiplied, for every token that occurs in `ids`.
void apply_repetition_penalty(std::span<const int64_t> ids, double penalty, std::span<float> scores,
                              std::vector<uint32_t>& counts);
/// OpenAI's penalties: score -= presence [token generated before] + frequency * times.
void apply_count_penalties(std::span<const int64_t> generated, double presence, double frequency,
                           std::span<float> scores, std::vector<uint32_t>& counts);
/// Forbids the token that would repeat an n-gram of `ids`.
void apply_no_repeat_ngram(std::span<const int64_t> ids, int64_t size, std::span<float> scores);
/// Forbids the last token of each word where `ids` ends with the rest of it.
void apply_bad_words(std::span<const int64_t> ids, std::span<const std::vector<int64_t>> words,
                     std::span<float> scores);
/// NaN becomes 0, infinities the largest and smallest float.
void remove_invalid_values(std::span<float> scores);

/// No NaN and no infinity?
bool all_finite(std::span<const float> scores);

/// All processors of a config in their order: logit_bias, repetition_penalty, presence and frequency penalty,
/// no_repeat_ngram_size, bad_words_ids, min_length, min_new_tokens, forced_bos, forced_eos, remove_invalid_values, the
/// user's, the constraint. Token ids have been checked against the vocabulary (GenerationConfig::validate, generate's
/// prompts).
class ProcessorChain {
 public:
  /// `config` and `user` must outlive the chain.
  ProcessorChain(const GenerationConfig& config, std::span<const LogitsProcessor> user,
                 const std::optional<Constraint>& constraint = {});

  /// Changes the scores of the token after `ids`, of which the first prompt_length are the prompt; no sequence grows
  /// past max_length. Throws Error(non_finite) when a processor of the user's returns NaN, Error(invalid_argument) when
  /// no token is left that may be chosen.
  void apply(std::span<const int64_t> ids, size_t prompt_length, int64_t max_length, std::span<float> scores);
  /// Whether apply() never changes a score.
  bool is_empty() const;

  // apply() in three parts. Several threads may do the first and the last for rows of their own.
  /// `counts`: working memory of the caller's, empty at first and then left as it is.
  void apply_built_in(std::span<const int64_t> ids, size_t prompt_length, int64_t max_length, std::span<float> scores,
                      std::vector<uint32_t>& counts) const;
  /// The user's processors and the constraint.
  void apply_callers(std::span<const int64_t> ids, size_t prompt_length, std::span<float> scores);
  bool has_callers() const { return !user_.empty() || constraint_.has_value(); }
  void check_any_left(std::span<const int64_t> ids, std::span<const float> scores) const;

 private:
  void forbid_eos(std::span<float> scores) const;
  void force(std::span<const int64_t> tokens, std::span<float> scores) const;

  const GenerationConfig& config_;
  std::span<const LogitsProcessor> user_;
  std::optional<ConstraintTracker> constraint_;
  std::vector<std::vector<int64_t>> bad_words_;
  std::vector<uint32_t> counts_;  // [vocab_size], all zero between calls
};

}  // namespace bamba
