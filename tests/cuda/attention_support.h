// What the tests of pages, rotary embedding and attention share: pages on the device, ragged batches, rounding.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

#include "backend/cuda/attention.h"
#include "backend/cuda/kv_pages.h"
#include "backend/cuda/rope.h"
#include "cuda/device.h"

namespace bamba::backend::cuda::testing {

template <typename Element>
float rounded(float value) {
  if constexpr (std::is_same_v<Element, float>) {
    return value;
  } else {
    return __bfloat162float(__float2bfloat16_rn(value));
  }
}
template <typename Element>
std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = rounded<Element>(v);
  return values;
}
template <typename Element>
float host_float(Element value) {
  if constexpr (std::is_same_v<Element, float>) {
    return value;
  } else {
    return __bfloat162float(value);
  }
}

/// Host rows [rows, cols] as device rows `stride` apart; NaN between them.
template <typename Element>
std::unique_ptr<DeviceVector<Element>> device_rows(const std::vector<float>& values, int64_t cols, int64_t stride) {
  const int64_t rows = static_cast<int64_t>(values.size()) / cols;
  std::vector<Element> padded(static_cast<size_t>(rows * stride), Element(std::numeric_limits<float>::quiet_NaN()));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      padded[static_cast<size_t>(r * stride + c)] = Element(values[static_cast<size_t>(r * cols + c)]);
    }
  }
  return std::make_unique<DeviceVector<Element>>(padded);
}
template <typename Element>
std::vector<float> host_rows(const DeviceVector<Element>& device, int64_t cols, int64_t stride) {
  const std::vector<Element> padded = device.host();
  std::vector<float> out;
  for (size_t r = 0; r * static_cast<size_t>(stride) < padded.size(); ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      out.push_back(host_float(padded[r * static_cast<size_t>(stride) + static_cast<size_t>(c)]));
    }
  }
  return out;
}

/// Page tables for sequences of these many tokens, pages in a shuffled order, all filled with NaN.
class TestPages {
 public:
  TestPages(const std::vector<int64_t>& tokens, const AttentionShape& shape, std::mt19937& engine) {
    std::vector<size_t> counts;
    size_t total = 0;
    for (const int64_t t : tokens) {
      counts.push_back(static_cast<size_t>((t + kPageTokens - 1) / kPageTokens));
      total += counts.back();
    }
    const size_t bytes = kv_page_bytes(shape);
    memory_ = std::make_unique<DeviceVector<uint8_t>>(std::max<size_t>(1, total) * bytes);
    std::vector<size_t> order(total);
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), engine);
    size_t next = 0;
    std::vector<float* const*> starts;
    for (const size_t count : counts) {
      std::vector<float*> own;
      for (size_t i = 0; i < count; ++i) {
        own.push_back(reinterpret_cast<float*>(memory_->data() + order[next++] * bytes));
      }
      tables_.push_back(std::make_unique<DeviceVector<float*>>(own));
      starts.push_back(tables_.back()->data());
    }
    all_ = std::make_unique<DeviceVector<float* const*>>(starts);
  }
  float* const* const* all() const { return all_->data(); }
  float* const* table(size_t sequence) const { return tables_[sequence]->data(); }

 private:
  std::unique_ptr<DeviceVector<uint8_t>> memory_;
  std::vector<std::unique_ptr<DeviceVector<float*>>> tables_;
  std::unique_ptr<DeviceVector<float* const*>> all_;
};

/// The first `tokens` tokens of a host array [n_kv_heads, all, head_dim].
inline std::vector<float> first_tokens(const std::vector<float>& numbers, const AttentionShape& shape, int64_t tokens) {
  const int64_t all = static_cast<int64_t>(numbers.size()) / (shape.n_kv_heads * shape.head_dim);
  std::vector<float> out;
  for (int64_t h = 0; h < shape.n_kv_heads; ++h) {
    const auto from = numbers.begin() + h * all * shape.head_dim;
    out.insert(out.end(), from, from + tokens * shape.head_dim);
  }
  return out;
}

}  // namespace bamba::backend::cuda::testing
