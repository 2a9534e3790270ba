#include "model/loss.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"

namespace bamba {
namespace {
constexpr int64_t kIgnored = -100;
}  // namespace

double log_sum_exp(std::span<const float> values) {
  const double largest = *std::max_element(values.begin(), values.end());
  if (!std::isfinite(largest)) return largest;
  double sum = 0;
  for (const float value : values) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

double kl_divergence(std::span<const float> reference, std::span<const float> logits) {
  const double reference_normaliser = log_sum_exp(reference);
  const double normaliser = log_sum_exp(logits);
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double log_p = reference[i] - reference_normaliser;
    const double p = std::exp(log_p);
    // A choice ruled out (a logit of minus infinity) adds nothing, however the other model sees it.
    if (p != 0) sum += p * (log_p - (logits[i] - normaliser));
  }
  // Equal rows may round to a little below zero.
  return sum < 0 ? 0.0 : sum;
}

void check_labels(const Tensor& labels, int64_t vocab, std::optional<int64_t> num_items_in_batch) {
  const auto values = labels.data<int64_t>();
  const int64_t seq = labels.dim(1);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != kIgnored && (values[i] < 0 || values[i] >= vocab)) {
      fail(ErrorCode::invalid_argument, "labels[", static_cast<int64_t>(i) / seq, ", ", static_cast<int64_t>(i) % seq,
           "] is ", values[i], "; it must be ", kIgnored, " (ignored) or between 0 and ", vocab - 1);
    }
  }
  if (num_items_in_batch && *num_items_in_batch <= 0) {
    fail(ErrorCode::invalid_argument, "num_items_in_batch is ", *num_items_in_batch, "; it must be positive");
  }
}

double causal_lm_loss(const LossInputs& in) {
  const int64_t batch = in.logits.dim(0);
  const int64_t seq = in.logits.dim(1);
  const auto vocab = in.logits.dim(2);
  const auto logits = in.logits.data<float>();
  const auto labels = in.labels.data<int64_t>();
  double sum = 0;
  double squares = 0;
  int64_t counted = 0;
  int64_t real = 0;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < seq; ++t) {
      const auto at = static_cast<size_t>(b * seq + t);
      if (!in.real[at]) continue;
      const bool predicts = t + 1 < seq && in.real[at + 1] && labels[at + 1] != kIgnored;
      if (!predicts && in.z_loss_coefficient == 0) continue;
      const auto row = logits.subspan(at * static_cast<size_t>(vocab), static_cast<size_t>(vocab));
      const double normaliser = log_sum_exp(row);
      squares += normaliser * normaliser;
      ++real;
      if (predicts) {
        sum += normaliser - row[static_cast<size_t>(labels[at + 1])];
        ++counted;
      }
    }
  }
  double loss = sum / static_cast<double>(in.num_items_in_batch.value_or(counted));
  if (in.z_loss_coefficient > 0) loss += in.z_loss_coefficient * squares / static_cast<double>(real);
  return loss;
}

}  // namespace bamba
