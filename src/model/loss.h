// The causal language-model loss.
#pragma once

#include <bamba/tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace bamba {

struct LossInputs {
  Tensor logits;           ///< f32 [batch, seq, vocab]
  Tensor labels;           ///< i64 [batch, seq], -100: ignored
  std::vector<bool> real;  ///< [batch * seq], false for padding
  std::optional<int64_t> num_items_in_batch;
  double z_loss_coefficient = 0;
};

/// Throws Error(invalid_argument) for a label out of range or a num_items_in_batch that is not positive.
void check_labels(const Tensor& labels, int64_t vocab, std::optional<int64_t> num_items_in_batch);

/// Mean over the counted positions t of -log softmax(logits_t)[labels_{t+1}], or their sum / num_items_in_batch; plus
/// z_loss_coefficient times the mean over all real positions of logsumexp(logits)^2 (the z-loss of PaLM, Chowdhery et
/// al. 2022, section 5). Computed in f64. NaN when nothing is counted, as the mean of nothing is. A position that is
/// padding predicts nothing and is not predicted. The labels must have passed check_labels().
double causal_lm_loss(const LossInputs& inputs);

/// log(sum(exp(values))) in f64.
double log_sum_exp(std::span<const float> values);

/// Kullback-Leibler divergence, in nats, of softmax(logits) from softmax(reference): sum of p * log(p / q), p being the
/// reference's. In f64. Both have the same length. NaN when a row holds NaN; infinite where p is not 0 and q is.
double kl_divergence(std::span<const float> reference, std::span<const float> logits);

}  // namespace bamba
