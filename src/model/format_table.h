// Which format each tensor gets when a model is quantized: the one table.
#pragma once

#include <bamba/config.h>
#include <bamba/weight_format.h>

#include <string>
#include <string_view>
#include <vector>

#include "model/tensor_specs.h"

namespace bamba {

/// The kinds of matrices that are told apart: "embedding", "lm_head", "in_proj", "out_proj", "attention", "gate_up",
/// "down". Empty for a tensor that is no matrix.
std::string_view tensor_class(const TensorSpec& spec);
const std::vector<std::string>& tensor_classes();

/// The format of a matrix in a model of `wanted` weights. Everything that is no matrix (norms, A_log, D, dt_bias,
/// convolutions, biases) stays f32 in every format: it is less than a thousandth of the weights, and what the scan's
/// exponentials depend on. Formats without exceptions (f32, bf16, f16, q8) come back as they are. docs/quantization.md
/// has the measurements behind the exceptions.
WeightFormat tensor_format(const TensorSpec& spec, WeightFormat wanted);

}  // namespace bamba
