// What a model's weights are built from: a tensor to be packed, or one that is packed already.
#pragma once

#include <bamba/tensor.h>
#include <bamba/weight_format.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "backend/backend.h"
#include "model/tensor_specs.h"

namespace bamba {

struct WeightTensor {
  WeightTensor(Tensor tensor_) : tensor(std::move(tensor_)) {}  // NOLINT(google-explicit-constructor)
  WeightTensor(Tensor tensor_, WeightFormat format_) : tensor(std::move(tensor_)), format(format_) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  WeightTensor(std::unique_ptr<backend::LinearWeight> packed_) : packed(std::move(packed_)) {}

  Tensor tensor;                                  ///< f32, f16 or bf16; or empty and:
  std::optional<WeightFormat> format;             ///< what to pack a matrix to; empty: what the model is loaded as
  std::unique_ptr<backend::LinearWeight> packed;  ///< matrices only
};

/// Gives the tensor of a spec, of the spec's shape. Called once for each spec, in order.
using TensorSource = std::function<WeightTensor(const TensorSpec&)>;

}  // namespace bamba
