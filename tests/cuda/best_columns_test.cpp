#include "backend/cuda/best_columns.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/device.h"

namespace bamba::backend::cuda {
namespace {

using testing::DeviceVector;
using testing::normals;

/// What best_columns() finds in rows of `cols`, with NaN between them.
std::vector<int32_t> best(const std::vector<std::vector<float>>& rows, DeviceVector<BestOfRow>& shared, size_t gap) {
  const size_t cols = rows[0].size();
  const size_t stride = cols + gap;
  std::vector<float> values(rows.size() * stride, std::numeric_limits<float>::quiet_NaN());
  for (size_t r = 0; r < rows.size(); ++r) {
    std::copy(rows[r].begin(), rows[r].end(), values.begin() + static_cast<std::ptrdiff_t>(r * stride));
  }
  const DeviceVector<float> in(values);
  DeviceVector<int32_t> columns(rows.size());
  best_columns(nullptr, {.in = in.data(),
                         .stride = static_cast<int64_t>(stride),
                         .rows = static_cast<int64_t>(rows.size()),
                         .cols = static_cast<int64_t>(cols),
                         .columns = columns.data(),
                         .shared = shared.data()});
  return columns.host();
}

// Rows of few columns have a block each, rows of many several, up to kSharedRows of them.
TEST(CudaBestColumns, FirstOfTheLargestOrFirstThatIsNotFinite) {
  BAMBA_SKIP_WITHOUT_GPU();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 engine(21);
  DeviceVector<BestOfRow> shared{std::vector<BestOfRow>(kSharedRows)};
  for (const size_t cols : {1U, 7U, 4096U, 8200U, 128256U}) {
    for (const size_t count : {1U, 6U, 40U}) {
      for (const size_t gap : {0U, 3U}) {
        SCOPED_TRACE(::testing::Message() << count << " rows of " << cols << ", gap " << gap);
        std::vector<std::vector<float>> rows;
        std::vector<int32_t> expected;
        const auto any = [&] { return std::uniform_int_distribution<size_t>(0, cols - 1)(engine); };
        for (size_t r = 0; r < count; ++r) {
          auto row = normals(engine, cols);
          const auto [first, second] = std::minmax({any(), any()});
          if (r % 6 == 1) row[first] = row[second] = 100;
          if (r % 6 == 2) std::fill(row.begin(), row.end(), -3.0F);
          if (r % 6 == 3) row[second] = row[first] = std::numeric_limits<float>::quiet_NaN();
          if (r % 6 == 4) {
            row[first] = -kInfinity;
            row[second] = kInfinity;
          }
          if (r % 6 == 5) {
            std::fill(row.begin(), row.end(), -0.0F);
            row[second] = 0.0F;
          }
          const auto broken = std::find_if(row.begin(), row.end(), [](float v) { return !std::isfinite(v); });
          const auto largest = std::max_element(row.begin(), row.end());
          expected.push_back(broken != row.end() ? -1 - static_cast<int32_t>(broken - row.begin())
                                                 : static_cast<int32_t>(largest - row.begin()));
          rows.push_back(std::move(row));
        }
        EXPECT_EQ(best(rows, shared, gap), expected);
      }
    }
  }
  for (const BestOfRow& each : shared.host()) EXPECT_TRUE(each.best == 0 && each.blocks == 0) << "not left as found";
}

}  // namespace
}  // namespace bamba::backend::cuda
