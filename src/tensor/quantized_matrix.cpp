#include "tensor/quantized_matrix.h"

#include <bamba/error.h>

#include <algorithm>
#include <cmath>

#include "base/str.h"

namespace bamba {
namespace {

constexpr float kLargestScale = 127;
/// Levels are looked up in steps of 1/8: the middle between two neighbours is a multiple of 1/2.
constexpr int kStepsPerUnit = 8;
constexpr int kTableRadius = 128 * kStepsPerUnit;

/// Code of every multiple of 1 / kStepsPerUnit between -128 and 128.
using NearestTable = std::array<int8_t, 2 * kTableRadius + 1>;

NearestTable make_nearest_table() {
  NearestTable table{};
  size_t level = 0;
  for (int i = -kTableRadius; i <= kTableRadius; ++i) {
    const float value = static_cast<float>(i) / kStepsPerUnit;
    while (level + 1 < kQ4Levels.size() &&
           value > 0.5f * static_cast<float>(int{kQ4Levels[level]} + int{kQ4Levels[level + 1]})) {
      ++level;
    }
    table[static_cast<size_t>(int64_t{i} + kTableRadius)] = static_cast<int8_t>(level);
  }
  return table;
}

const NearestTable& nearest_table() {
  static const NearestTable table = make_nearest_table();
  return table;
}

int8_t nearest_q4(const NearestTable& table, float value) {
  const float bounded = std::clamp(value, -128.0f, 128.0f);
  // Upwards from a tie would need care; a step of 1/8 misplaces nothing by more than 1/16 of a level's unit.
  const int64_t step = std::lrint(bounded * kStepsPerUnit);
  return table[static_cast<size_t>(step + kTableRadius)];
}

int8_t nearest_q8(float value) {
  return static_cast<int8_t>(std::lrint(std::clamp(value, -127.0f, 127.0f)));
}

/// The weight with the largest magnitude.
float extreme(const float* weights, int64_t count) {
  float best = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(weights[i])) {
      fail(ErrorCode::non_finite, "a weight is ", weights[i], "; only finite weights can be quantized");
    }
    if (std::abs(weights[i]) > std::abs(best)) best = weights[i];
  }
  return best;
}

}  // namespace

int64_t group_size(WeightFormat format) {
  switch (format) {
    case WeightFormat::q8:
      return 64;
    case WeightFormat::q4:
      return 32;
    default:
      fail(ErrorCode::invalid_argument, "the weight format ", weight_format_name(format),
           " has no groups; q8 and q4 have");
  }
}

QuantizedMatrix::QuantizedMatrix(WeightFormat format_, int64_t rows_, int64_t cols_)
    : format(format_),
      rows(rows_),
      cols(cols_),
      group(group_size(format_)),
      groups_of_row((cols_ + group - 1) / group),
      row_scales(static_cast<size_t>(rows_)),
      group_scales(static_cast<size_t>(rows_ * groups_of_row)),
      all_codes(static_cast<size_t>(rows_ * groups_of_row * group)) {}

int8_t nearest_code(WeightFormat format, float value) {
  return format == WeightFormat::q8 ? nearest_q8(value) : nearest_q4(nearest_table(), value);
}

float quantize_scales(const float* group_scales, int64_t groups, int8_t* scales) {
  float largest = 0;
  for (int64_t g = 0; g < groups; ++g) largest = std::max(largest, std::abs(group_scales[g]));
  const float row_scale = largest / kLargestScale;
  for (int64_t g = 0; g < groups; ++g) {
    const float ratio = row_scale > 0 ? group_scales[g] / row_scale : 0;
    auto rounded = std::lrint(ratio);
    if (rounded == 0 && ratio != 0) rounded = ratio > 0 ? 1 : -1;
    scales[g] = static_cast<int8_t>(std::clamp<long>(rounded, -127, 127));
  }
  return row_scale;
}

void quantize_row(WeightFormat format, const float* weights, int64_t cols, float* row_scale, int8_t* scales,
                  int8_t* codes) {
  const int64_t group = group_size(format);
  const int64_t groups = (cols + group - 1) / group;
  const bool q8 = format == WeightFormat::q8;
  std::vector<float> wanted(static_cast<size_t>(groups));
  for (int64_t g = 0; g < groups; ++g) {
    const float best = extreme(weights + g * group, std::min(group, cols - g * group));
    // The levels of q4 reach further down than up, so its scale turns the largest weight downwards.
    wanted[static_cast<size_t>(g)] = q8 ? std::abs(best) / 127.0f : best / static_cast<float>(kQ4Levels.front());
  }
  *row_scale = quantize_scales(wanted.data(), groups, scales);
  const NearestTable& table = nearest_table();
  for (int64_t g = 0; g < groups; ++g) {
    // A scale that was rounded down would cut the largest q8 weight off.
    if (q8 && *row_scale * static_cast<float>(scales[g]) < wanted[static_cast<size_t>(g)] && scales[g] < 127) {
      ++scales[g];
    }
    const float scale = *row_scale * static_cast<float>(scales[g]);
    const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int64_t i = 0; i < group; ++i) {
      const int64_t k = g * group + i;
      const float value = k < cols ? weights[k] * inverse : 0.0f;
      codes[k] = k >= cols ? int8_t{0} : q8 ? nearest_q8(value) : nearest_q4(table, value);
    }
  }
}

}  // namespace bamba
