// generate(): from prompts of token ids to sequences of token ids.
#pragma once

#include <bamba/constraint.h>
#include <bamba/model.h>
#include <bamba/tokenizer.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bamba {

enum class EarlyStopping { no, yes, never };  ///< false, true, "never"

/// Transformers' GenerationConfig, the part that applies to this model. Empty optionals mean "not set".
///
/// Scores pass through, in this order: logit_bias, repetition_penalty, presence and frequency penalty,
/// no_repeat_ngram_size, bad_words_ids, min_length, min_new_tokens, forced_bos, forced_eos, remove_invalid_values,
/// GenerateOptions.processors, GenerateOptions.constraint; and, when sampling, temperature, top_k, top_p, min_p,
/// typical_p, epsilon_cutoff, eta_cutoff. In beam search they act on log-probabilities.
struct GenerationConfig {
  // Length.
  std::optional<int64_t> max_length;      ///< of each prompt with its new tokens
  std::optional<int64_t> max_new_tokens;  ///< wins over max_length; with neither, 256 new tokens
  std::optional<int64_t> min_length;      ///< of each prompt with its new tokens: no eos before
  std::optional<int64_t> min_new_tokens;  ///< no eos before
  /// Ends a sequence when its new text holds one of these; needs a tokenizer. Decoded text leaves special tokens out:
  /// a stop string that is one ends the sequence when that token comes.
  std::vector<std::string> stop_strings;
  // Search.
  bool do_sample = false;
  int64_t num_beams = 1;             ///< more than 1: beam search, which draws its candidates when do_sample is on
  int64_t num_return_sequences = 1;  ///< for each prompt; more than 1 needs do_sample, or as many beams
  double length_penalty = 1.0;       ///< score = sum of log-probabilities / length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::no;
  // Processors.
  /// Scores of tokens seen before, the prompt's included, are divided by it when positive, else multiplied (Keskar et
  /// al., "CTRL", 2019).
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;     ///< OpenAI's: subtracted once from tokens generated before
  double frequency_penalty = 0.0;    ///< OpenAI's: subtracted once for each time a token was generated before
  int64_t no_repeat_ngram_size = 0;  ///< no n-gram of this size twice, the prompt included; 0: off
  std::vector<std::vector<int64_t>> bad_words_ids;  ///< sequences of ids that never appear
  std::map<int64_t, double> logit_bias;             ///< added to the score of a token
  std::optional<int64_t> forced_bos_token_id;       ///< the first new token
  std::vector<int64_t> forced_eos_token_id;         ///< what the last token may be when the length runs out
  bool remove_invalid_values = false;               ///< off: NaN or infinite logits throw Error(non_finite)
  // Warpers.
  double temperature = 1.0;     ///< divides the scores; at least 1e-6 when sampling
  int64_t top_k = 50;           ///< only the k likeliest tokens; 0: off
  double top_p = 1.0;           ///< only the likeliest tokens that hold this share of the probability; 1: off
  std::optional<double> min_p;  ///< only tokens with this share of the likeliest one's probability
  double typical_p = 1.0;       ///< locally typical sampling (Meister et al., 2022); 1: off
  double epsilon_cutoff = 0.0;  ///< no token less likely than this (Hewitt et al., 2022); 0: off
  double eta_cutoff = 0.0;      ///< the same with a threshold that follows the entropy (the same paper); 0: off
  uint64_t seed = 0;  ///< the same seed, prompt and place in the batch give the same text, whatever the threads
  // Tokens.
  std::optional<int64_t> bos_token_id;  ///< what an empty prompt becomes
  std::vector<int64_t> eos_token_id;    ///< each of them ends a sequence
  std::optional<int64_t> pad_token_id;  ///< checked and kept; nothing is padded here
  // Output.
  bool output_logprobs = false;    ///< fill GeneratedSequence::logprobs
  int64_t top_logprobs = 0;        ///< with output_logprobs: alternatives reported a token
  int64_t prefill_chunk_size = 0;  ///< 0: the whole prompt at once

  /// Token ids of the model's config.
  static GenerationConfig from_model_config(const BambaConfig& config);
  /// The above, then DIR/generation_config.json if there is one: null and missing keys stay unset, keys without a
  /// meaning here are ignored, with a warning when Transformers would generate something else because of them. Throws
  /// Error(invalid_config) that names the key; values are checked by validate().
  static GenerationConfig from_pretrained(const std::filesystem::path& directory, const BambaConfig& config);
  /// The same from the text of a generation_config.json; `origin` names it in messages.
  static GenerationConfig from_json(std::string_view text, const std::string& origin, const BambaConfig& config);
  /// Throws Error(invalid_argument) that names the parameter, its value and what is allowed.
  void validate(const BambaConfig& config) const;
};

enum class FinishReason {
  eos,        ///< an eos_token_id came
  length,     ///< max_new_tokens or max_length was reached
  stop,       ///< a stop string was complete
  cancelled,  ///< the caller asked to stop
};
/// "eos", "length", "stop" or "cancelled".
std::string_view finish_reason_name(FinishReason reason);

/// How likely a chosen token was.
struct TokenLogprob {
  double logprob = 0;                           ///< natural log, of the processed scores' softmax before the warpers
  std::vector<std::pair<int64_t, double>> top;  ///< the top_logprobs likeliest ids with theirs, likeliest first
};

struct GeneratedSequence {
  int64_t prompt_index = 0;  ///< from 0, in the order of the prompts given
  std::vector<int64_t> ids;  ///< new tokens, the eos included
  /// Decoded without special tokens, cut before the stop string that ended it; empty without a tokenizer.
  std::string text;
  FinishReason finish_reason = FinishReason::length;
  std::optional<double> score;         ///< beam search: sum of log-probabilities / length^length_penalty
  std::vector<TokenLogprob> logprobs;  ///< one for each of ids, with output_logprobs
};

/// A token as it is made. For beam search only the returned sequences are streamed, at the end. The texts of a
/// sequence's events joined are its `text` (unless it was cancelled: then the part held back as a possible stop string
/// or half a character is in `text` only). References are good during the call.
struct StreamEvent {
  int64_t prompt_index = 0;
  int64_t sequence_index = 0;  ///< among the prompt's num_return_sequences
  int64_t id = 0;              ///< the token
  std::string_view text;       ///< whole characters that this token decided, never any of a stop string; may be empty
  const TokenLogprob* logprob = nullptr;  ///< with output_logprobs
};

/// Changes the scores [vocab_size] of one sequence; `ids` are its tokens so far, the prompt included. -infinity
/// forbids a token. Called once for sequences that still share all their tokens.
using LogitsProcessor = std::function<void(std::span<const int64_t> ids, std::span<float> scores)>;

struct GenerateOptions {
  const Tokenizer* tokenizer = nullptr;  ///< for text and stop strings
  /// Returns false to cancel: what was generated so far is returned with FinishReason::cancelled.
  std::function<bool(const StreamEvent&)> stream;
  const std::atomic<bool>* cancel = nullptr;  ///< checked between steps (set by a signal handler, say)
  std::vector<LogitsProcessor> processors;    ///< after the built-in processors, before the warpers
  /// What each sequence's new text must match, applied after `processors`. A text that is cut off by its length is the
  /// beginning of a match. Its vocabulary's eos tokens should be the config's.
  std::optional<Constraint> constraint;
  /// One a prompt, or empty: states that already hold the first state.length() tokens of each prompt. They are advanced
  /// when num_beams and num_return_sequences are 1, so that a conversation goes on where it stopped.
  /// At least one token of each prompt must be left to run. After the call such a state holds the prompt and the new
  /// tokens but for the last. Empty handles become new states.
  std::span<SequenceState> states;
  std::function<void(int64_t done, int64_t total)> prompt_progress;  ///< tokens of prompts read
};

/// Of the whole call, times in seconds.
struct GenerateTiming {
  int64_t prompt_tokens = 0;       ///< run: without those that given states held
  int64_t new_tokens = 0;          ///< chosen; in beam search the steps of each prompt
  double prompt_seconds = 0;       ///< to the end of the prompts' forward
  double time_to_first_token = 0;  ///< from the start of the call
  double decode_seconds = 0;       ///< from the end of the prompts on
};

struct GenerateResult {
  /// Prompt by prompt, num_return_sequences each, best first for beams (fewer when beam search finds fewer).
  std::vector<GeneratedSequence> sequences;
  GenerateTiming timing;
};

/// Runs all prompts as one ragged batch; sequences that end leave it. An empty prompt becomes bos_token_id. A context
/// past max_position_embeddings is warned about once.
/// Throws Error(invalid_argument) for ids out of range, an empty prompt without bos, bad parameters, a constraint
/// without eos tokens, or processors that forbid every token; Error(non_finite) for NaN or infinite logits; and
/// whatever a callback throws.
GenerateResult generate(const BambaForCausalLM& model, std::span<const std::vector<int64_t>> prompts,
                        const GenerationConfig& config, const GenerateOptions& options = {});

}  // namespace bamba
