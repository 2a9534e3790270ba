// What the tests of the Mamba kernels share: strided device rows in either element, ragged batches, and cuts of them.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "backend/backend.h"
#include "cuda/device.h"

namespace bamba::backend::cuda::testing {

template <typename T>
T element(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    return __float2bfloat16(v);
  }
}
inline float value(float v) {
  return v;
}
inline float value(__nv_bfloat16 v) {
  return __bfloat162float(v);
}
/// Largest relative error of one rounding to T, which has 24 or 8 significant bits.
template <typename T>
constexpr double kRounding = std::is_same_v<T, float> ? 0x1p-24 : 0x1p-8;

/// [rows, cols] on the device, at column `offset` of rows of `stride` elements; all around is NaN.
template <typename T>
class DeviceRows {
 public:
  /// Unwritten, for results.
  DeviceRows(int64_t rows, int64_t cols, int64_t stride, int64_t offset)
      : rows_(rows), cols_(cols), stride_(stride), offset_(offset), memory_(static_cast<size_t>(rows * stride)) {}
  /// values: [rows, cols].
  DeviceRows(const std::vector<float>& values, int64_t rows, int64_t cols, int64_t stride, int64_t offset)
      : rows_(rows), cols_(cols), stride_(stride), offset_(offset), memory_(spread(values)) {}

  T* data() { return memory_.data() + offset_; }
  int64_t stride() const { return stride_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  /// [rows, cols]; fails the test when anything around them is no longer NaN.
  std::vector<float> values() const {
    const auto all = memory_.host();
    std::vector<float> out;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < stride_; ++c) {
        const float v = value(all[static_cast<size_t>(r * stride_ + c)]);
        if (c >= offset_ && c < offset_ + cols_) {
          out.push_back(v);
        } else {
          EXPECT_TRUE(std::isnan(v)) << "row " << r << " column " << c - offset_;
        }
      }
    }
    return out;
  }

 private:
  std::vector<T> spread(const std::vector<float>& values) const {
    std::vector<T> all(static_cast<size_t>(rows_ * stride_), element<T>(std::numeric_limits<float>::quiet_NaN()));
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) {
        all[static_cast<size_t>(r * stride_ + offset_ + c)] = element<T>(values[static_cast<size_t>(r * cols_ + c)]);
      }
    }
    return all;
  }
  int64_t rows_;
  int64_t cols_;
  int64_t stride_;
  int64_t offset_;
  DeviceVector<T> memory_;
};

/// What is left of each value in T.
template <typename T>
std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = value(element<T>(v));
  return values;
}

inline std::vector<SequenceRows> ragged(const std::vector<int64_t>& lengths, const std::vector<int64_t>& starts) {
  std::vector<SequenceRows> out;
  int64_t first = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    out.push_back({first, lengths[i], starts[i]});
    first += lengths[i];
  }
  return out;
}

/// One pass: which sequence, which of its rows.
using Pass = std::vector<std::pair<size_t, SequenceRows>>;

inline std::vector<Pass> one_pass(const std::vector<SequenceRows>& sequences) {
  Pass pass;
  for (size_t i = 0; i < sequences.size(); ++i) pass.emplace_back(i, sequences[i]);
  return {pass};
}
/// Each sequence for itself, cut where the sequence's token number is a multiple of `step`, one to three steps a piece.
inline std::vector<Pass> cut_passes(std::mt19937& engine, const std::vector<SequenceRows>& sequences, int64_t step) {
  std::vector<Pass> passes;
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (int64_t t = 0; t < sequences[i].count;) {
      const int64_t start = sequences[i].start + t;
      const int64_t steps = 1 + static_cast<int64_t>(engine() % 3);
      const int64_t n = std::min(sequences[i].count - t, steps * step - start % step);
      passes.push_back({{i, {sequences[i].first + t, n, start}}});
      t += n;
    }
  }
  return passes;
}
/// All sequences together, one token each a pass, as long as they have any: decoding.
inline std::vector<Pass> decoding_passes(const std::vector<SequenceRows>& sequences) {
  std::vector<Pass> passes;
  for (int64_t t = 0;; ++t) {
    Pass pass;
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (t < sequences[i].count) pass.push_back({i, {sequences[i].first + t, 1, sequences[i].start + t}});
    }
    if (pass.empty()) return passes;
    passes.push_back(pass);
  }
}

/// A pass's lists on the device, and state memory of each sequence.
struct PassLists {
  DeviceVector<SequenceRows> rows;
  DeviceVector<float*> states;
  int64_t max_count = 0;

  PassLists(const Pass& pass, std::vector<std::unique_ptr<DeviceVector<float>>>& memory)
      : rows(sequence_rows(pass)), states(pointers(pass, memory)) {
    for (const auto& [index, part] : pass) max_count = std::max(max_count, part.count);
  }

 private:
  static std::vector<SequenceRows> sequence_rows(const Pass& pass) {
    std::vector<SequenceRows> out;
    for (const auto& [index, part] : pass) out.push_back(part);
    return out;
  }
  static std::vector<float*> pointers(const Pass& pass, std::vector<std::unique_ptr<DeviceVector<float>>>& memory) {
    std::vector<float*> out;
    for (const auto& [index, part] : pass) out.push_back(memory[index]->data());
    return out;
  }
};

inline std::vector<std::unique_ptr<DeviceVector<float>>> upload_states(const std::vector<std::vector<float>>& states) {
  std::vector<std::unique_ptr<DeviceVector<float>>> out;
  for (const auto& state : states) out.push_back(std::make_unique<DeviceVector<float>>(state));
  return out;
}

/// Bits, so that NaN and the sign of zero count.
inline ::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " and " << b.size() << " values";
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure() << a[i] << " and " << b[i] << " at " << i;
    }
  }
  return ::testing::AssertionSuccess();
}

inline int64_t between(std::mt19937& engine, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(engine);
}

}  // namespace bamba::backend::cuda::testing
