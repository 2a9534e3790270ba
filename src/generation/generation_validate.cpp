// GenerationConfig::validate: every parameter against what it may be.
#include <bamba/generation.h>

#include <cmath>
#include <limits>

#include "base/str.h"

namespace bamba {
namespace {

template <typename Value, typename... Rule>
[[noreturn]] void reject(std::string_view name, const Value& value, const Rule&... rule) {
  fail(ErrorCode::invalid_argument, name, " is ", value, "; ", rule...);
}

void check_at_least(std::string_view name, int64_t value, int64_t least) {
  if (value < least) reject(name, value, "it must be at least ", least);
}

void check_at_least(std::string_view name, const std::optional<int64_t>& value, int64_t least) {
  if (value) check_at_least(name, *value, least);
}

void check_finite(std::string_view name, double value) {
  if (!std::isfinite(value)) reject(name, value, "it must be finite");
}

/// low <= value <= high; NaN fails.
void check_between(std::string_view name, double value, double low, double high) {
  if (!(value >= low && value <= high)) reject(name, value, "it must be between ", low, " and ", high);
}

void check_token(std::string_view name, int64_t id, const BambaConfig& config) {
  if (id < 0 || id >= config.vocab_size) {
    reject(name, id, "token ids must be in [0, ", config.vocab_size, ")");
  }
}

void check_lengths(const GenerationConfig& c) {
  check_at_least("max_length", c.max_length, 1);
  check_at_least("max_new_tokens", c.max_new_tokens, 1);
  check_at_least("min_length", c.min_length, 0);
  check_at_least("min_new_tokens", c.min_new_tokens, 0);
  if (c.min_new_tokens && c.max_new_tokens && *c.min_new_tokens > *c.max_new_tokens) {
    reject("min_new_tokens", *c.min_new_tokens, "it must be at most max_new_tokens, ", *c.max_new_tokens);
  }
  if (c.min_length && c.max_length && !c.max_new_tokens && *c.min_length > *c.max_length) {
    reject("min_length", *c.min_length, "it must be at most max_length, ", *c.max_length);
  }
  for (const std::string& stop : c.stop_strings) {
    if (stop.empty()) reject("stop_strings", "holding an empty string", "each must have at least one character");
  }
  check_at_least("prefill_chunk_size", c.prefill_chunk_size, 0);
}

void check_search(const GenerationConfig& c, const BambaConfig& config) {
  // Beyond these, states and logits of the sequences alone would fill any machine: likelier a slip than a wish.
  constexpr int64_t kMostSequences = 4096;
  check_between("num_beams", static_cast<double>(c.num_beams), 1, kMostSequences);
  check_between("num_return_sequences", static_cast<double>(c.num_return_sequences), 1, kMostSequences);
  if (c.num_beams > 1 && c.num_return_sequences > c.num_beams) {
    reject("num_return_sequences", c.num_return_sequences, "with beam search it must be at most num_beams, ",
           c.num_beams);
  }
  if (c.num_beams == 1 && !c.do_sample && c.num_return_sequences > 1) {
    reject("num_return_sequences", c.num_return_sequences,
           "greedy search has one result; set do_sample, or num_beams to at least as many");
  }
  check_finite("length_penalty", c.length_penalty);
  check_between("top_logprobs", static_cast<double>(c.top_logprobs), 0, static_cast<double>(config.vocab_size));
}

void check_processors(const GenerationConfig& c, const BambaConfig& config) {
  if (!(c.repetition_penalty > 0) || !std::isfinite(c.repetition_penalty)) {
    reject("repetition_penalty", c.repetition_penalty, "it must be positive and finite");
  }
  check_finite("presence_penalty", c.presence_penalty);
  check_finite("frequency_penalty", c.frequency_penalty);
  check_at_least("no_repeat_ngram_size", c.no_repeat_ngram_size, 0);
  for (const auto& word : c.bad_words_ids) {
    if (word.empty()) reject("bad_words_ids", "holding an empty list", "each word must have at least one token");
    for (const int64_t id : word) check_token("a token of bad_words_ids", id, config);
  }
  for (const auto& [id, bias] : c.logit_bias) {
    check_token("a token of logit_bias", id, config);
    check_between("a bias of logit_bias", bias, -1e9, 1e9);
  }
  if (c.forced_bos_token_id) check_token("forced_bos_token_id", *c.forced_bos_token_id, config);
  for (const int64_t id : c.forced_eos_token_id) check_token("forced_eos_token_id", id, config);
}

void check_warpers(const GenerationConfig& c) {
  // Files say "temperature": 0 and mean greedy search, where the temperature plays no part.
  constexpr double kLeastTemperature = 1e-6;
  const bool unused = !c.do_sample && c.temperature == 0;
  if (!unused && !(c.temperature >= kLeastTemperature && std::isfinite(c.temperature))) {
    reject("temperature", c.temperature, "it must be finite and at least ", kLeastTemperature,
           "; set do_sample to false to take the likeliest token always");
  }
  check_at_least("top_k", c.top_k, 0);
  check_between("top_p", c.top_p, 0, 1);
  if (c.min_p) check_between("min_p", *c.min_p, 0, 1);
  if (!(c.typical_p > 0 && c.typical_p <= 1)) {
    reject("typical_p", c.typical_p, "it must be above 0 and at most 1");
  }
  for (const auto& [name, value] : {std::pair{"epsilon_cutoff", c.epsilon_cutoff}, {"eta_cutoff", c.eta_cutoff}}) {
    if (!(value >= 0 && value < 1)) reject(name, value, "it must be at least 0 and below 1");
  }
}

}  // namespace

void GenerationConfig::validate(const BambaConfig& config) const {
  check_lengths(*this);
  check_search(*this, config);
  check_processors(*this, config);
  check_warpers(*this);
  if (bos_token_id) check_token("bos_token_id", *bos_token_id, config);
  for (const int64_t id : eos_token_id) check_token("eos_token_id", id, config);
  if (pad_token_id) check_token("pad_token_id", *pad_token_id, config);
}

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::eos:
      return "eos";
    case FinishReason::length:
      return "length";
    case FinishReason::stop:
      return "stop";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace bamba
