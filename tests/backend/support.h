// What the backend's tests share: random rows with poisoned padding, ragged batches, comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "backend/backend.h"
#include "support/same_bits.h"

namespace bamba::backend::testing {

inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float normal(float scale = 1) { return scale * normal_(engine_); }
  int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  int64_t pick(std::initializer_list<int64_t> choices) {
    return choices.begin()[below(static_cast<int64_t>(choices.size()))];
  }
  std::vector<float> normals(int64_t n, float scale = 1) {
    std::vector<float> out(static_cast<size_t>(n));
    for (float& v : out) v = normal(scale);
    return out;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

/// A matrix whose rows start anywhere (odd offset and stride) between NaNs: a kernel that reads the padding is found
/// by its results, one that writes it by padding_intact().
class Rows {
 public:
  Rows(int64_t rows, int64_t cols, int64_t gap = 3)
      : rows_(rows), cols_(cols), gap_(gap), memory_(static_cast<size_t>(1 + rows * (cols + gap)), kPoison) {}
  static Rows normals(Random& random, int64_t rows, int64_t cols, float scale = 1, int64_t gap = 3) {
    Rows out(rows, cols, gap);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) out.at(r, c) = random.normal(scale);
    }
    return out;
  }

  Matrix view() { return {memory_.data() + 1, rows_, cols_, cols_ + gap_}; }
  float& at(int64_t r, int64_t c) { return memory_[static_cast<size_t>(1 + r * (cols_ + gap_) + c)]; }
  std::vector<float> values() {
    std::vector<float> out;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < cols_; ++c) out.push_back(at(r, c));
    }
    return out;
  }
  bool padding_intact() {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = cols_; c < cols_ + gap_; ++c) {
        if (!std::isnan(at(r, c))) return false;
      }
    }
    return std::isnan(memory_[0]);
  }

 private:
  int64_t rows_;
  int64_t cols_;
  int64_t gap_;
  std::vector<float> memory_;
};

using test::same_bits;

/// Sequences of the given lengths, one after the other.
inline std::vector<SequenceRows> ragged(const std::vector<int64_t>& lengths, const std::vector<int64_t>& starts) {
  std::vector<SequenceRows> out;
  int64_t first = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    out.push_back({first, lengths[i], starts[i]});
    first += lengths[i];
  }
  return out;
}

/// Cuts [0, count) anywhere: pieces of random lengths, single tokens among them.
inline std::vector<SequenceRows> random_cut(Random& random, const SequenceRows& rows) {
  std::vector<SequenceRows> out;
  for (int64_t t = 0; t < rows.count;) {
    const int64_t n = std::min(rows.count - t, random.below(3) == 0 ? 1 : random.between(1, 90));
    out.push_back({rows.first + t, n, rows.start + t});
    t += n;
  }
  return out;
}

/// A product's rows are the same to the bit on any number of threads, and in pieces of any of these sizes.
/// backend(threads) makes a backend, pack(backend) the weight [out, 700].
template <typename MakeBackend, typename Pack>
void expect_rows_independent(Random& random, MakeBackend backend, Pack pack, std::initializer_list<int64_t> pieces_of) {
  constexpr int64_t kIn = 700;
  constexpr int64_t kOut = 330;
  constexpr int64_t kRows = 530;
  Rows x = Rows::normals(random, kRows, kIn);
  std::vector<float> expected;
  for (int threads = 1; threads <= 8; ++threads) {
    const std::unique_ptr<Backend> cpu = backend(threads);
    const std::unique_ptr<LinearWeight> packed = pack(*cpu);
    Rows y(kRows, kOut);
    cpu->linear(x.view(), *packed, nullptr, false, y.view());
    if (threads == 1) {
      expected = y.values();
    } else {
      ASSERT_TRUE(same_bits(y.values(), expected)) << threads << " threads";
    }
    if (threads > 3) continue;
    Rows pieces(kRows, kOut);
    for (int64_t r = 0; r < kRows;) {
      const int64_t n = std::min(kRows - r, random.pick(pieces_of));
      cpu->linear(x.view().below(r, n), *packed, nullptr, false, pieces.view().below(r, n));
      r += n;
    }
    ASSERT_TRUE(same_bits(pieces.values(), expected)) << "in pieces";
  }
}

}  // namespace bamba::backend::testing
