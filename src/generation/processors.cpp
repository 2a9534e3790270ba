#include "generation/processors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/str.h"

namespace bamba {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

/// Calls visit(token, times) once for each distinct token of `ids`. `counts` is all zero before and after.
template <typename Visit>
void for_each_distinct(std::span<const int64_t> ids, size_t vocab_size, std::vector<uint32_t>& counts,
                       const Visit& visit) {
  counts.resize(vocab_size, 0);
  for (const int64_t id : ids) ++counts[static_cast<size_t>(id)];
  for (const int64_t id : ids) {
    uint32_t& times = counts[static_cast<size_t>(id)];
    if (times == 0) continue;  // seen earlier in this loop
    visit(static_cast<size_t>(id), times);
    times = 0;
  }
}

}  // namespace

void apply_repetition_penalty(std::span<const int64_t> ids, double penalty, std::span<float> scores,
                              std::vector<uint32_t>& counts) {
  const auto factor = static_cast<float>(penalty);
  for_each_distinct(ids, scores.size(), counts, [&](size_t token, uint32_t) {
    float& score = scores[token];
    score = score < 0 ? score * factor : score / factor;
  });
}

void apply_count_penalties(std::span<const int64_t> generated, double presence, double frequency,
                           std::span<float> scores, std::vector<uint32_t>& counts) {
  for_each_distinct(generated, scores.size(), counts, [&](size_t token, uint32_t times) {
    scores[token] -= static_cast<float>(presence + frequency * times);
  });
}

void apply_no_repeat_ngram(std::span<const int64_t> ids, int64_t size, std::span<float> scores) {
  const auto n = static_cast<size_t>(size);
  if (ids.size() + 1 < n) return;
  const auto tail = ids.last(n - 1);
  for (size_t begin = 0; begin + n <= ids.size(); ++begin) {
    if (std::equal(tail.begin(), tail.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin))) {
      scores[static_cast<size_t>(ids[begin + n - 1])] = kForbidden;
    }
  }
}

void apply_bad_words(std::span<const int64_t> ids, std::span<const std::vector<int64_t>> words,
                     std::span<float> scores) {
  for (const auto& word : words) {
    const auto start = std::span(word).first(word.size() - 1);
    if (start.size() > ids.size()) continue;
    if (std::ranges::equal(start, ids.last(start.size()))) scores[static_cast<size_t>(word.back())] = kForbidden;
  }
}

void remove_invalid_values(std::span<float> scores) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (float& score : scores) {
    if (std::isnan(score)) score = 0;
    score = std::clamp(score, -kLargest, kLargest);
  }
}

bool all_finite(std::span<const float> scores) {
  // On bit patterns, without a branch, so that the compiler makes a vector loop of it.
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t bad = 0;
  for (const float score : scores) bad |= (std::bit_cast<uint32_t>(score) & kExponent) == kExponent ? 1U : 0U;
  return bad == 0;
}

ProcessorChain::ProcessorChain(const GenerationConfig& config, std::span<const LogitsProcessor> user,
                               const std::optional<Constraint>& constraint)
    : config_(config), user_(user) {
  if (constraint) {
    if (constraint->vocabulary().eos_token_ids().empty()) {
      fail(ErrorCode::invalid_argument, "a constraint on generated text needs an end-of-text token, and there is none");
    }
    constraint_.emplace(*constraint);
  }
  // Transformers never bans the end of the sequence as a "bad word".
  for (const auto& word : config.bad_words_ids) {
    const bool is_eos = word.size() == 1 && std::ranges::count(config.eos_token_id, word[0]) != 0;
    if (!is_eos) bad_words_.push_back(word);
  }
}

bool ProcessorChain::is_empty() const {
  const GenerationConfig& c = config_;
  return c.logit_bias.empty() && c.repetition_penalty == 1.0 && c.presence_penalty == 0 && c.frequency_penalty == 0 &&
         c.no_repeat_ngram_size <= 0 && bad_words_.empty() && c.min_length.value_or(0) <= 0 &&
         c.min_new_tokens.value_or(0) <= 0 && !c.forced_bos_token_id && c.forced_eos_token_id.empty() &&
         !c.remove_invalid_values && user_.empty() && !constraint_;
}

void ProcessorChain::forbid_eos(std::span<float> scores) const {
  for (const int64_t eos : config_.eos_token_id) scores[static_cast<size_t>(eos)] = kForbidden;
}

void ProcessorChain::force(std::span<const int64_t> tokens, std::span<float> scores) const {
  std::ranges::fill(scores, kForbidden);
  for (const int64_t token : tokens) scores[static_cast<size_t>(token)] = 0;
}

void ProcessorChain::apply(std::span<const int64_t> ids, size_t prompt_length, int64_t max_length,
                           std::span<float> scores) {
  apply_built_in(ids, prompt_length, max_length, scores, counts_);
  apply_callers(ids, prompt_length, scores);
  check_any_left(ids, scores);
}

void ProcessorChain::apply_built_in(std::span<const int64_t> ids, size_t prompt_length, int64_t max_length,
                                    std::span<float> scores, std::vector<uint32_t>& counts) const {
  const GenerationConfig& c = config_;
  const auto length = static_cast<int64_t>(ids.size());
  const int64_t generated = length - static_cast<int64_t>(prompt_length);

  for (const auto& [token, bias] : c.logit_bias) scores[static_cast<size_t>(token)] += static_cast<float>(bias);
  if (c.repetition_penalty != 1.0) apply_repetition_penalty(ids, c.repetition_penalty, scores, counts);
  if (c.presence_penalty != 0 || c.frequency_penalty != 0) {
    apply_count_penalties(ids.subspan(prompt_length), c.presence_penalty, c.frequency_penalty, scores, counts);
  }
  if (c.no_repeat_ngram_size > 0) apply_no_repeat_ngram(ids, c.no_repeat_ngram_size, scores);
  apply_bad_words(ids, bad_words_, scores);
  if (c.min_length && length < *c.min_length) forbid_eos(scores);
  if (c.min_new_tokens && generated < *c.min_new_tokens) forbid_eos(scores);
  // "bos" is forced as the first token after a prompt of one token, Transformers' rule from encoder-decoder models.
  if (c.forced_bos_token_id && length == 1) force({&*c.forced_bos_token_id, 1}, scores);
  if (!c.forced_eos_token_id.empty() && length + 1 == max_length) force(c.forced_eos_token_id, scores);
  if (c.remove_invalid_values) remove_invalid_values(scores);
}

void ProcessorChain::apply_callers(std::span<const int64_t> ids, size_t prompt_length, std::span<float> scores) {
  for (size_t i = 0; i < user_.size(); ++i) {
    user_[i](ids, scores);
    const auto nan = std::ranges::find_if(scores, [](float score) { return std::isnan(score); });
    if (nan != scores.end()) {
      fail(ErrorCode::non_finite, "logits processor ", i, " of GenerateOptions.processors returned NaN for token ",
           nan - scores.begin(), "; scores must be numbers or -infinity");
    }
  }
  if (constraint_) constraint_->apply(ids.subspan(prompt_length), scores);
}

void ProcessorChain::check_any_left(std::span<const int64_t> ids, std::span<const float> scores) const {
  if (std::ranges::none_of(scores, [](float score) { return score > kForbidden; })) {
    fail(ErrorCode::invalid_argument, "the logits processors forbid every token after token ", ids.size(),
         " of a sequence; at least one of the vocabulary's ", scores.size(), " must stay allowed");
  }
}

}  // namespace bamba
