#include "generation/warpers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace bamba {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

float max_score(std::span<const Candidate> kept) {
  float best = kept[0].score;
  for (const Candidate& candidate : kept) best = std::max(best, candidate.score);
  return best;
}

}  // namespace

WarperSettings WarperSettings::from(const GenerationConfig& config) {
  return {.temperature = config.temperature,
          .top_k = config.top_k,
          .top_p = config.top_p,
          .min_p = config.min_p,
          .typical_p = config.typical_p,
          .epsilon_cutoff = config.epsilon_cutoff,
          .eta_cutoff = config.eta_cutoff,
          .min_tokens_to_keep = config.num_beams > 1 ? std::max(size_t{2}, config.eos_token_id.size() + 1) : 1};
}

std::span<const Candidate> Warpers::apply(std::span<float> scores) {
  collect(scores);
  // Transformers leaves these out at the value that means "off"; a mass of 1 would still cut what rounding loses.
  if (settings_.top_p < 1.0) apply_top_p();
  if (settings_.min_p) apply_min_p();
  if (settings_.typical_p < 1.0) apply_typical_p();
  if (settings_.epsilon_cutoff > 0) apply_epsilon_cutoff();
  if (settings_.eta_cutoff > 0) apply_eta_cutoff();
  return kept_;
}

/// Never decreases where the score does not: the order of tokens stays, but different scores may become equal.
float Warpers::tempered(float score) const {
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (settings_.temperature == 1.0 || score == kForbidden) return score;
  // A tiny temperature must not make infinities, whose differences are NaN.
  return std::clamp(score / static_cast<float>(settings_.temperature), -kLargest, kLargest);
}

void Warpers::collect(std::span<float> scores) {
  const auto k = std::max(static_cast<size_t>(settings_.top_k), settings_.min_tokens_to_keep);
  const bool limited = settings_.top_k > 0 && k < scores.size();
  if (limited && k <= scores.size() / kScoreBlock) {
    collect_best(scores, k);
    return;
  }
  if (settings_.temperature != 1.0) {
    for (float& score : scores) score = tempered(score);
  }
  // Equals of the k-th best all stay. Forbidden tokens never do.
  float threshold = kForbidden;
  if (limited) threshold = kth_largest(scores, k, scratch_);
  kept_.clear();
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] >= threshold && scores[i] > kForbidden) kept_.push_back({static_cast<int64_t>(i), scores[i]});
  }
}

/// The same for a few of many: one pass over the row finds each block's best, and after that few blocks matter.
void Warpers::collect_best(std::span<const float> scores, size_t count) {
  block_maxima(scores, maxima_);
  for (float& best : maxima_) best = tempered(best);
  // So many blocks have a token of at least this score, so the last token to be kept is no worse.
  const float bound = kth_largest(maxima_, count, scratch_);
  kept_.clear();
  for (size_t block = 0; block < maxima_.size(); ++block) {
    if (maxima_[block] < bound) continue;
    const size_t end = std::min(scores.size(), (block + 1) * kScoreBlock);
    for (size_t i = block * kScoreBlock; i < end; ++i) {
      const float score = tempered(scores[i]);
      if (score >= bound && score > kForbidden) kept_.push_back({static_cast<int64_t>(i), score});
    }
  }
  if (kept_.size() <= count) return;
  maxima_.clear();
  for (const Candidate& candidate : kept_) maxima_.push_back(candidate.score);
  const float threshold = kth_largest(maxima_, count, scratch_);
  std::erase_if(kept_, [&](const Candidate& candidate) { return candidate.score < threshold; });
}

void Warpers::compute_probabilities() {
  const float best = max_score(kept_);
  probabilities_.resize(kept_.size());
  double sum = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    probabilities_[i] = std::exp(kept_[i].score - best);
    sum += probabilities_[i];
  }
  const auto total = static_cast<float>(sum);
  for (float& probability : probabilities_) probability /= total;
}

template <typename Keep>
void Warpers::keep_where(const Keep& keep, bool ties) {
  size_t passed = 0;
  for (size_t i = 0; i < kept_.size(); ++i) passed += keep(i) ? 1 : 0;
  const size_t least = std::min(settings_.min_tokens_to_keep, kept_.size());
  size_t out = 0;
  if (passed >= least) {
    for (size_t i = 0; i < kept_.size(); ++i) {
      if (keep(i)) kept_[out++] = kept_[i];
    }
  } else {
    order_.resize(kept_.size());
    std::iota(order_.begin(), order_.end(), 0U);
    const auto last = order_.begin() + static_cast<std::ptrdiff_t>(least - 1);
    std::nth_element(order_.begin(), last, order_.end(),
                     [&](uint32_t a, uint32_t b) { return better(kept_[a], kept_[b]); });
    const Candidate worst = kept_[*last];
    for (size_t i = 0; i < kept_.size(); ++i) {
      if (!better(worst, kept_[i]) || (ties && kept_[i].score == worst.score)) kept_[out++] = kept_[i];
    }
  }
  kept_.resize(out);
}

void Warpers::apply_top_p() {
  // Transformers sorts upwards and removes tokens while the cumulative probability is at most 1 - top_p; equals lose
  // the lower id first. Counted from the top instead, the cumulative probability of a token is 1 minus that of the
  // tokens before it, so only the few likely tokens are ever sorted.
  compute_probabilities();
  double mass = 0;  // of the tokens not yet visited
  for (const float probability : probabilities_) mass += probability;
  const auto limit = static_cast<float>(1.0 - settings_.top_p);
  order_.resize(kept_.size());
  std::iota(order_.begin(), order_.end(), 0U);
  flags_.assign(kept_.size(), 0);
  size_t taken = 0;
  visit_in_order(
      std::span(order_),
      [&](uint32_t a, uint32_t b) {
        return kept_[a].score != kept_[b].score ? kept_[a].score > kept_[b].score : kept_[a].id > kept_[b].id;
      },
      [&](uint32_t item) {
        if (static_cast<float>(mass) <= limit && taken >= settings_.min_tokens_to_keep) return false;
        flags_[item] = 1;
        ++taken;
        mass -= probabilities_[item];
        return true;
      });
  size_t out = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (flags_[i] != 0) kept_[out++] = kept_[i];
  }
  kept_.resize(out);
}

void Warpers::apply_min_p() {
  compute_probabilities();
  const float limit = *std::ranges::max_element(probabilities_) * static_cast<float>(*settings_.min_p);
  keep_where([&](size_t i) { return probabilities_[i] >= limit; }, /*ties=*/false);
}

void Warpers::apply_typical_p() {
  // Meister et al., "Locally typical sampling" (2022): tokens whose information is nearest to the entropy, until they
  // hold the mass.
  compute_probabilities();
  const float best = max_score(kept_);
  double sum = 0;
  for (const Candidate& candidate : kept_) sum += std::exp(candidate.score - best);
  const auto log_sum = static_cast<float>(std::log(sum));
  const auto log_probability = [&](size_t i) { return kept_[i].score - best - log_sum; };
  double entropy = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    const float probability = std::exp(log_probability(i));
    if (probability > 0) entropy -= double{probability} * log_probability(i);
  }

  scratch_.resize(kept_.size());  // distances
  for (size_t i = 0; i < kept_.size(); ++i) {
    scratch_[i] = std::abs(-log_probability(i) - static_cast<float>(entropy));
  }
  order_.resize(kept_.size());
  std::iota(order_.begin(), order_.end(), 0U);
  flags_.assign(kept_.size(), 0);
  const auto limit = static_cast<float>(settings_.typical_p);
  double mass = 0;
  size_t visited = 0;
  float farthest = std::numeric_limits<float>::infinity();  // when rounding never lets the mass be reached
  visit_in_order(
      std::span(order_),
      [&](uint32_t a, uint32_t b) { return scratch_[a] != scratch_[b] ? scratch_[a] < scratch_[b] : a < b; },
      [&](uint32_t item) {
        mass += probabilities_[item];
        if (visited++ < settings_.min_tokens_to_keep) flags_[item] = 1;
        if (farthest != std::numeric_limits<float>::infinity()) return visited < settings_.min_tokens_to_keep;
        if (static_cast<float>(mass) < limit) return true;
        farthest = scratch_[item];
        return visited < settings_.min_tokens_to_keep;
      });
  size_t out = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (flags_[i] != 0 || scratch_[i] <= farthest) kept_[out++] = kept_[i];
  }
  kept_.resize(out);
}

void Warpers::apply_epsilon_cutoff() {
  compute_probabilities();
  const auto limit = static_cast<float>(settings_.epsilon_cutoff);
  keep_where([&](size_t i) { return probabilities_[i] >= limit; }, /*ties=*/true);
}

void Warpers::apply_eta_cutoff() {
  // Hewitt et al., "Truncation sampling as language model desmoothing" (2022).
  compute_probabilities();
  double entropy = 0;
  for (const float probability : probabilities_) {
    if (probability > 0) entropy -= double{probability} * std::log(double{probability});
  }
  const double epsilon = settings_.eta_cutoff;
  const auto limit = static_cast<float>(std::min(epsilon, std::sqrt(epsilon) * std::exp(-entropy)));
  keep_where([&](size_t i) { return probabilities_[i] >= limit; }, /*ties=*/true);
}

}  // namespace bamba
