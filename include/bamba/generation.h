// generate(): from prompts of token ids to sequences of token ids.
#pragma once

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
#include <vector>

namespace bamba {

enum class EarlyStopping { no, yes, never };  ///< false, true, "never"

/// Transformers' GenerationConfig, the part that applies to this model. Empty optionals mean "not set".
struct GenerationConfig {
  // Length.
  std::optional<int64_t> max_length;      ///< prompt included
  std::optional<int64_t> max_new_tokens;  ///< wins over max_length; with neither, 256 new tokens
  std::optional<int64_t> min_length;
  std::optional<int64_t> min_new_tokens;
  std::vector<std::string> stop_strings;  ///< needs a tokenizer
  // Search.
  bool do_sample = false;
  int64_t num_beams = 1;
  int64_t num_return_sequences = 1;
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::no;
  // Processors.
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;   ///< OpenAI's: subtracted once from tokens generated before
  double frequency_penalty = 0.0;  ///< OpenAI's: subtracted once for each time a token was generated before
  int64_t no_repeat_ngram_size = 0;
  std::vector<std::vector<int64_t>> bad_words_ids;
  std::map<int64_t, double> logit_bias;  ///< added to the score of a token
  std::optional<int64_t> forced_bos_token_id;
  std::vector<int64_t> forced_eos_token_id;
  bool remove_invalid_values = false;  ///< off: NaN or infinite logits throw Error(non_finite)
  // Warpers.
  double temperature = 1.0;
  int64_t top_k = 50;  ///< 0: off
  double top_p = 1.0;
  std::optional<double> min_p;
  double typical_p = 1.0;
  double epsilon_cutoff = 0.0;
  double eta_cutoff = 0.0;
  uint64_t seed = 0;
  // Tokens.
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_id;
  std::optional<int64_t> pad_token_id;
  // Output.
  bool output_logprobs = false;
  int64_t top_logprobs = 0;        ///< with output_logprobs: alternatives reported a token
  int64_t prefill_chunk_size = 0;  ///< 0: the whole prompt at once

  /// Token ids of the model's config.
  static GenerationConfig from_model_config(const BambaConfig& config);
  /// The above, then DIR/generation_config.json if there is one. Throws Error(invalid_config).
  static GenerationConfig from_pretrained(const std::filesystem::path& directory, const BambaConfig& config);
  static GenerationConfig from_json(std::string_view text, const std::string& origin, const BambaConfig& config);
  /// Throws Error(invalid_argument) that names the parameter, its value and what is allowed.
  void validate(const BambaConfig& config) const;
};

enum class FinishReason { eos, length, stop, cancelled };
std::string_view finish_reason_name(FinishReason reason);

struct TokenLogprob {
  double logprob = 0;  ///< natural log, of the processed scores' softmax before the warpers
  std::vector<std::pair<int64_t, double>> top;
};

struct GeneratedSequence {
  int64_t prompt_index = 0;
  std::vector<int64_t> ids;  ///< new tokens, the eos included
  std::string text;          ///< decoded, cut before the stop string that ended it; empty without a tokenizer
  FinishReason finish_reason = FinishReason::length;
  std::optional<double> score;  ///< beam search: sum of log-probabilities / length^length_penalty
  std::vector<TokenLogprob> logprobs;
};

/// A token as it is made. For beam search only finished sequences are streamed, at the end.
struct StreamEvent {
  int64_t prompt_index = 0;
  int64_t sequence_index = 0;  ///< among the prompt's num_return_sequences
  int64_t id = 0;
  std::string_view text;  ///< whole UTF-8 characters that this token completed; may be empty
  const TokenLogprob* logprob = nullptr;
};

/// Changes the scores [vocab_size] of one sequence; `ids` are its tokens so far, the prompt included.
using LogitsProcessor = std::function<void(std::span<const int64_t> ids, std::span<float> scores)>;

struct GenerateOptions {
  const Tokenizer* tokenizer = nullptr;  ///< for text and stop strings
  /// Returns false to cancel: what was generated so far is returned with FinishReason::cancelled.
  std::function<bool(const StreamEvent&)> stream;
  const std::atomic<bool>* cancel = nullptr;  ///< checked between steps (set by a signal handler, say)
  std::vector<LogitsProcessor> processors;    ///< after the built-in processors, before the warpers
  /// One a prompt, or empty: states that already hold the first state.length() tokens of each prompt. They are advanced
  /// when num_beams and num_return_sequences are 1, so that a conversation goes on where it stopped.
  std::span<SequenceState> states;
  std::function<void(int64_t done, int64_t total)> prompt_progress;  ///< tokens of prompts read
};

struct GenerateTiming {
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
  double prompt_seconds = 0;  ///< to the end of the prompts' forward
  double time_to_first_token = 0;
  double decode_seconds = 0;
};

struct GenerateResult {
  std::vector<GeneratedSequence> sequences;  ///< prompt by prompt, num_return_sequences each, best first for beams
  GenerateTiming timing;
};

/// Throws Error(invalid_argument) for bad ids, an empty prompt without bos, or bad parameters.
GenerateResult generate(const BambaForCausalLM& model, std::span<const std::vector<int64_t>> prompts,
                        const GenerationConfig& config, const GenerateOptions& options = {});

}  // namespace bamba
