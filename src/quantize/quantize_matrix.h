// Quantizing one matrix, with or without knowledge of the inputs it will meet.
#pragma once

#include <bamba/tensor.h>
#include <bamba/weight_format.h>

#include <span>

#include "backend/backend.h"
#include "base/thread_pool.h"
#include "quantize/second_moment.h"
#include "tensor/quantized_matrix.h"

namespace bamba {

/// Each weight to the nearest level, each group's largest weight to the last level.
QuantizedMatrix quantize_nearest(WeightFormat format, const Tensor& weight, ThreadPool& pool);

/// The scale of each group is searched for the least error; importance [in] (the mean square of each input, or any
/// multiple of it) weighs the errors when it is not empty.
QuantizedMatrix quantize_searched(WeightFormat format, const Tensor& weight, std::span<const float> importance,
                                  ThreadPool& pool);

/// Error feedback: least E |(W - Q) x|^2 for the inputs x of H = E[x x^T].
///
/// With H = R^T R (R upper triangular), row w's error is the sum over k of (R_kk d_k + sum_{j > k} R_kj d_j)^2, where
/// d = w - q. So from the last input to the first each weight is rounded after what the later ones did wrong has been
/// added to it: q_k ~ w_k + sum_{j > k} R_kj d_j / R_kk. (Babai's nearest plane, 1986; GPTQ, Frantar et al. 2022, is
/// the same from the other end.) The scales are searched on these corrected weights, with R_kk^2 as importance.
class FeedbackQuantizer {
 public:
  /// Factors H; adds to its diagonal what it takes to be positive definite. May be used for all matrices that read the
  /// same inputs.
  FeedbackQuantizer(backend::Backend& device, ThreadPool& pool, const SecondMoment& moment);
  QuantizedMatrix quantize(WeightFormat format, const Tensor& weight);

 private:
  void quantize_columns(QuantizedMatrix& out, const Tensor& weight, const std::vector<float>& carried, int64_t first,
                        int64_t end);

  backend::Backend& device_;
  ThreadPool& pool_;
  int64_t n_;
  std::vector<float> factor_;  ///< L = R^T, [n, n]
  std::vector<float> errors_;  ///< d, [out, n]
};

}  // namespace bamba
