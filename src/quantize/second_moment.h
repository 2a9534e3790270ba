// What a calibration text says about a linear layer's inputs: H = sum over its rows x of x x^T.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace bamba {

class SecondMoment {
 public:
  /// Holds inputs^2 floats.
  explicit SecondMoment(int64_t inputs);

  /// Adds rows of activations, [rows, inputs].
  void add(backend::Backend& device, const backend::Matrix& rows);

  int64_t inputs() const { return inputs_; }
  int64_t rows() const { return rows_; }
  std::span<const float> matrix() const { return sums_; }
  /// The diagonal: how much each input weighs.
  std::vector<float> diagonal() const;

 private:
  int64_t inputs_;
  int64_t rows_ = 0;
  std::vector<float> sums_;  ///< [inputs, inputs], symmetric
};

}  // namespace bamba
