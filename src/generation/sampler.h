// Drawing a token, and the log-probabilities that go with it.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <span>
#include <vector>

#include "generation/selection.h"

namespace bamba {

/// The best score; the lowest id among equals.
int64_t greedy_token(std::span<const float> scores);

/// Inverse CDF: candidates in their order, weights exp(score - max) added in f64, so that a draw depends on nothing
/// but the scores and the random number.
class Sampler {
 public:
  /// Sets the distribution: softmax of the candidates' scores.
  void set(std::span<const Candidate> candidates);
  /// Index of the candidate at `uniform` in [0, 1).
  size_t draw(double uniform) const;
  double probability(size_t index) const { return weights_[index] / total_; }
  /// Takes a candidate out (for draws without replacement). Its weight becomes 0.
  void remove(size_t index);
  double remaining() const { return total_; }

 private:
  std::vector<double> weights_;
  double total_ = 0;
};

/// score[token] - log_sum (log_sum_exp of the scores), and the `top` best tokens with theirs.
TokenLogprob token_logprob(std::span<const float> scores, double log_sum, int64_t token, int64_t top,
                           TopSelector& selector);

}  // namespace bamba
