// What a calibration text says about a linear layer's inputs: H = sum over its rows x of x x^T, or H's diagonal alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace bamba {

class SecondMoment {
 public:
  enum class Part {
    matrix,    ///< all of H: inputs^2 floats, and a matrix product for each add()
    diagonal,  ///< how large each input is, and no more
  };
  SecondMoment(int64_t inputs, Part part);

  /// Adds rows of activations, [rows, inputs].
  void add(backend::Backend& device, const backend::Matrix& rows);

  int64_t inputs() const { return inputs_; }
  /// H, [inputs, inputs]; of Part::matrix only.
  std::span<const float> matrix() const { return sums_; }
  /// How much each input weighs, [inputs].
  std::vector<float> diagonal() const;

 private:
  void add_squares(std::span<const float> rows);

  int64_t inputs_;
  Part part_;
  std::vector<float> sums_;  ///< [inputs, inputs], symmetric; or [inputs]
};

}  // namespace bamba
