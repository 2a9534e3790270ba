// The flags of Transformers' generation parameters, laid over the defaults of generation_config.json.
#pragma once

#include <bamba/generation.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace bamba::cli {

/// Empty: not given on the command line.
struct GenerationFlags {
  bool no_generation_config = false;
  bool greedy = false;
  std::optional<int64_t> max_new_tokens, max_length, min_new_tokens, min_length;
  std::vector<std::string> stop_strings;
  std::optional<bool> do_sample;
  std::optional<int64_t> num_beams, num_return_sequences;
  std::optional<double> length_penalty;
  std::optional<std::string> early_stopping;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> no_repeat_ngram_size;
  std::vector<std::string> bad_words, bad_words_ids, logit_bias;
  std::optional<int64_t> forced_bos_token_id;
  std::optional<std::string> forced_eos_token_id;
  bool remove_invalid_values = false;
  std::optional<double> temperature, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff;
  std::optional<int64_t> top_k;
  std::optional<uint64_t> seed;
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::optional<std::string> eos_token_id;
  std::optional<int64_t> logprobs;
  std::optional<int64_t> prefill_chunk;
};

void add_length_flags(CLI::App& command, GenerationFlags& flags);
void add_sampling_flags(CLI::App& command, GenerationFlags& flags);
void add_search_flags(CLI::App& command, GenerationFlags& flags);
void add_token_flags(CLI::App& command, GenerationFlags& flags);

/// The defaults of `directory` with the flags laid over them. A sampling run without --seed gets a seed of its own
/// from the system. Warns about flags that have no effect. `tokenizer` is needed for --bad-words and may be null.
GenerationConfig generation_config(const GenerationFlags& flags, const std::filesystem::path& directory,
                                   const BambaConfig& config, const Tokenizer* tokenizer);

}  // namespace bamba::cli
