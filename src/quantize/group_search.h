// The scale and the codes of one group of weights that lose least.
#pragma once

#include <bamba/weight_format.h>

#include <cstdint>

namespace bamba {

/// The signed multiple of `row_scale` that, as the scale of `count` weights (one group of `format`), makes the sum of
/// importance[i] * (weights[i] - rounded[i])^2 least. Tried are the multiples around the one that takes the largest
/// weight to the last level, of both signs where the levels are not symmetric. importance: [count], or null for ones.
int8_t search_scale(WeightFormat format, const float* weights, const float* importance, int64_t count, float row_scale);

/// A row scale with which every group of the row finds its scale among the signed 8-bit multiples.
float search_row_scale(WeightFormat format, const float* weights, int64_t cols);

/// search_scale() for every group of a row, and the codes; or what quantize_row() makes of the row where that is
/// better, so that the row's error is never above that of rounding to nearest. Outputs as quantize_row() has them.
/// Throws Error(non_finite) when a weight is not finite.
void search_row(WeightFormat format, const float* weights, const float* importance, int64_t cols, float* row_scale,
                int8_t* scales, int8_t* codes);

/// The weight that a code stands for.
float dequantized(WeightFormat format, float scale, int8_t code);

}  // namespace bamba
