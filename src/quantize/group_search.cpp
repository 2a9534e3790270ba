#include "quantize/group_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/quantized_matrix.h"

namespace bamba {
namespace {

/// Scales tried, as parts of the one that takes the largest weight to the last level. The levels of q4 are so coarse
/// that cutting the largest weight short, or not using the last level, often loses less.
struct SearchRange {
  float low;
  float high;
  int tries;  ///< of each sign, at most
};

SearchRange range_of(WeightFormat format) {
  return format == WeightFormat::q4 ? SearchRange{0.72f, 1.36f, 24} : SearchRange{0.85f, 1.02f, 12};
}

constexpr float kTop = 127;

float level_of(WeightFormat format, int8_t code) {
  return static_cast<float>(format == WeightFormat::q4 ? kQ4Levels[static_cast<uint8_t>(code)] : code);
}

float largest_magnitude(const float* weights, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(weights[i]));
  return largest;
}

/// Nearest levels by value, in steps of 1/4 (levels' middles are multiples of 1/2).
class LevelTable {
 public:
  LevelTable() {
    for (size_t i = 0; i < table_.size(); ++i) {
      const float value = (static_cast<float>(i) - kRadius) / kSteps;
      table_[i] = level_of(WeightFormat::q4, nearest_code(WeightFormat::q4, value));
    }
  }
  float nearest(float value) const {
    const float at = std::clamp(value * kSteps, -static_cast<float>(kRadius), static_cast<float>(kRadius));
    return table_[static_cast<size_t>(std::lrint(at) + kRadius)];
  }

 private:
  static constexpr int kSteps = 4;
  static constexpr int kRadius = 128 * kSteps;
  std::array<float, 2 * kRadius + 1> table_{};
};

float error_of(WeightFormat format, const float* weights, const float* importance, int64_t count, float scale) {
  static const LevelTable levels;
  const float inverse = 1.0f / scale;
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float value = weights[i] * inverse;
    const float level =
        format == WeightFormat::q4 ? levels.nearest(value) : std::nearbyint(std::clamp(value, -kTop, kTop));
    const float off = weights[i] - scale * level;
    sum += (importance != nullptr ? importance[i] : 1.0f) * off * off;
  }
  return sum;
}

double row_error(WeightFormat format, const float* weights, const float* importance, int64_t cols, float row_scale,
                 const int8_t* scales, const int8_t* codes) {
  const int64_t group = group_size(format);
  double sum = 0;
  for (int64_t k = 0; k < cols; ++k) {
    const int8_t multiple = scales[k / group];
    const float scale = row_scale * static_cast<float>(multiple);
    const double off = static_cast<double>(weights[k]) - static_cast<double>(dequantized(format, scale, codes[k]));
    sum += (importance != nullptr ? static_cast<double>(importance[k]) : 1.0) * off * off;
  }
  return sum;
}

}  // namespace

float dequantized(WeightFormat format, float scale, int8_t code) {
  return scale * level_of(format, code);
}

float search_row_scale(WeightFormat format, const float* weights, int64_t cols) {
  return largest_magnitude(weights, cols) / kTop * range_of(format).high / kTop;
}

int8_t search_scale(WeightFormat format, const float* weights, const float* importance, int64_t count,
                    float row_scale) {
  const float wanted = largest_magnitude(weights, count) / kTop;
  if (wanted == 0 || row_scale == 0) return 0;
  const SearchRange range = range_of(format);
  const float multiple = wanted / row_scale;
  const auto bounded = [](float value) { return static_cast<int>(std::clamp(value, 1.0f, kTop)); };
  const int low = bounded(std::floor(multiple * range.low));
  const int high = bounded(std::ceil(multiple * range.high));
  const int step = std::max(1, (high - low + range.tries) / range.tries);
  const bool both_signs = format == WeightFormat::q4;
  float least = std::numeric_limits<float>::infinity();
  int best = low;
  const auto consider = [&](int scale) {
    const float error = error_of(format, weights, importance, count, row_scale * static_cast<float>(scale));
    if (error < least) {
      least = error;
      best = scale;
    }
  };
  for (int scale = low; scale <= high; scale += step) {
    consider(scale);
    if (both_signs) consider(-scale);
  }
  // Between the steps.
  const int middle = best;
  const int direction = middle < 0 ? -1 : 1;
  for (int offset = 1 - step; offset < step; ++offset) {
    const int magnitude = std::abs(middle) + offset;
    if (offset != 0 && magnitude >= 1 && magnitude <= static_cast<int>(kTop)) consider(direction * magnitude);
  }
  return static_cast<int8_t>(best);
}

void search_row(WeightFormat format, const float* weights, const float* importance, int64_t cols, float* row_scale,
                int8_t* scales, int8_t* codes) {
  const int64_t group = group_size(format);
  const int64_t groups = (cols + group - 1) / group;
  float nearest_row_scale = 0;
  std::vector<int8_t> nearest_scales(static_cast<size_t>(groups));
  std::vector<int8_t> nearest_codes(static_cast<size_t>(groups * group));
  quantize_row(format, weights, cols, &nearest_row_scale, nearest_scales.data(), nearest_codes.data());
  *row_scale = search_row_scale(format, weights, cols);
  for (int64_t first = 0; first < cols; first += group) {
    const int64_t count = std::min(group, cols - first);
    const int8_t multiple =
        search_scale(format, weights + first, importance != nullptr ? importance + first : nullptr, count, *row_scale);
    scales[first / group] = multiple;
    const float scale = *row_scale * static_cast<float>(multiple);
    const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    for (int64_t i = 0; i < group; ++i) {
      codes[first + i] = i < count ? nearest_code(format, weights[first + i] * inverse) : int8_t{0};
    }
  }
  // The row's scale leaves the search room above the largest weight, at the cost of coarser steps: rarely too coarse.
  if (row_error(format, weights, importance, cols, nearest_row_scale, nearest_scales.data(), nearest_codes.data()) <
      row_error(format, weights, importance, cols, *row_scale, scales, codes)) {
    *row_scale = nearest_row_scale;
    std::copy(nearest_scales.begin(), nearest_scales.end(), scales);
    std::copy(nearest_codes.begin(), nearest_codes.end(), codes);
  }
}

}  // namespace bamba
