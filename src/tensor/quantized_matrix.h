// Integer weights with a scale for each group: what q8 and q4 mean, apart from how any kernel lays them out.
//
// Weight (r, k) of a matrix is row_scales[r] * group_scales[r, k / group] * level, where the level is the code itself
// (q8: -127 to 127) or kQ4Levels[code] (q4: codes 0 to 15). A group is `group` consecutive inputs of one row: 64 for
// q8 (8.125 bits a weight), 32 for q4 (4.25 bits).
#pragma once

#include <bamba/tensor.h>
#include <bamba/weight_format.h>

#include <array>
#include <cstdint>
#include <vector>

namespace bamba {

/// The levels of q4, rising. Trained weights are denser around zero, and so are these.
inline constexpr std::array<int8_t, 16> kQ4Levels = {-127, -97, -76, -60, -46, -33, -21, -10,
                                                     0,    11,  22,  34,  47,  62,  81,  104};

/// Weights that share a scale. Throws Error(invalid_argument) for a format without groups.
int64_t group_size(WeightFormat format);

/// [rows, cols] in q8 or q4. `cols` need not be a multiple of the group: codes of the last group past it are 0.
struct QuantizedMatrix {
  QuantizedMatrix(WeightFormat format, int64_t rows, int64_t cols);

  int64_t groups() const { return groups_of_row; }
  float* row_scale(int64_t row) { return row_scales.data() + row; }
  int8_t* scales(int64_t row) { return group_scales.data() + row * groups_of_row; }
  const int8_t* scales(int64_t row) const { return group_scales.data() + row * groups_of_row; }
  int8_t* codes(int64_t row) { return all_codes.data() + row * groups_of_row * group; }
  const int8_t* codes(int64_t row) const { return all_codes.data() + row * groups_of_row * group; }

  WeightFormat format;
  int64_t rows;
  int64_t cols;
  int64_t group;
  int64_t groups_of_row;
  std::vector<float> row_scales;     ///< [rows]
  std::vector<int8_t> group_scales;  ///< [rows, groups]
  std::vector<int8_t> all_codes;     ///< [rows, groups * group]
};

/// The level nearest to `value` (of a weight divided by its scales): a q8 code, or an index into kQ4Levels.
int8_t nearest_code(WeightFormat format, float value);

/// Rounds one row to nearest: each group's scale takes its largest weight to the last level. row_scale: one float,
/// scales: [groups], codes: [groups * group]. Throws Error(non_finite) when a weight is not finite.
void quantize_row(WeightFormat format, const float* weights, int64_t cols, float* row_scale, int8_t* scales,
                  int8_t* codes);

/// Rounds each group's scale to a signed 8-bit multiple of a scale for the row, which it returns: group_scales[g] is
/// about row scale * scales[g], and never zero unless it is.
float quantize_scales(const float* group_scales, int64_t groups, int8_t* scales);

}  // namespace bamba
