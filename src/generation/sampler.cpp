#include "generation/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bamba {

int64_t greedy_token(std::span<const float> scores) {
  // A block is looked through only where it has the best so far.
  size_t best = 0;
  size_t i = 0;
  for (; i + kScoreBlock <= scores.size(); i += kScoreBlock) {
    if (!(block_max(&scores[i]) > scores[best])) continue;
    best = static_cast<size_t>(std::ranges::max_element(scores.subspan(i, kScoreBlock)) - scores.begin());
  }
  for (; i < scores.size(); ++i) {
    if (scores[i] > scores[best]) best = i;
  }
  return static_cast<int64_t>(best);
}

void Sampler::set(std::span<const Candidate> candidates) {
  weights_.resize(candidates.size());
  float best = candidates[0].score;
  for (const Candidate& candidate : candidates) best = std::max(best, candidate.score);
  for (size_t i = 0; i < candidates.size(); ++i) {
    weights_[i] = std::exp(double{candidates[i].score} - double{best});
  }
  total_ = std::accumulate(weights_.begin(), weights_.end(), 0.0);
}

size_t Sampler::draw(double uniform) const {
  const double target = uniform * total_;
  double sum = 0;
  size_t last = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] <= 0) continue;
    sum += weights_[i];
    last = i;
    if (target < sum) break;
  }
  return last;  // rounding may leave target at the sum: the last possible candidate then
}

void Sampler::remove(size_t index) {
  weights_[index] = 0;
  total_ = std::accumulate(weights_.begin(), weights_.end(), 0.0);
}

TokenLogprob token_logprob(std::span<const float> scores, double log_sum, int64_t token, int64_t top,
                           TopSelector& selector) {
  TokenLogprob out;
  out.logprob = double{scores[static_cast<size_t>(token)]} - log_sum;
  if (top > 0) {
    selector.start(static_cast<size_t>(top));
    selector.offer(scores, 0.0F, 0);
    for (const Candidate& candidate : selector.take()) out.top.emplace_back(candidate.id, candidate.score - log_sum);
  }
  return out;
}

}  // namespace bamba
