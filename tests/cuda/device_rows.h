// Matrices and states on a backend, for tests that go through its interface.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "backend/backend.h"

namespace bamba::backend::cuda::testing {

/// A matrix of the device's intermediate element and its memory.
struct Rows {
  Buffer memory;
  Matrix matrix;

  Rows(Backend& device, int64_t rows, int64_t cols) : memory(device.allocate(static_cast<size_t>(rows * cols) * 4)) {
    matrix = {memory.floats(), rows, cols, cols, device.intermediate_element()};
  }
  Rows(Backend& device, const std::vector<float>& values, int64_t cols)
      : Rows(device, static_cast<int64_t>(values.size()) / cols, cols) {
    if (matrix.element == Element::f32) {
      device.upload(memory, 0, values.data(), values.size() * sizeof(float));
      return;
    }
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(to_bf16(value).bits);
    device.upload(memory, 0, halves.data(), halves.size() * sizeof(uint16_t));
  }
  std::vector<float> host(Backend& device) const {
    std::vector<float> out(static_cast<size_t>(matrix.rows * matrix.cols));
    device.download_rows(matrix, out.data(), matrix.cols);
    return out;
  }
};

/// f32 memory of each sequence on a device.
struct States {
  std::vector<Buffer> memory;
  std::vector<float*> pointers;

  States(Backend& device, const std::vector<std::vector<float>>& values) {
    for (const auto& each : values) {
      memory.push_back(device.upload_vector(each));
      pointers.push_back(memory.back().floats());
    }
  }
  std::vector<float> host(Backend& device) const {
    std::vector<float> all;
    for (const Buffer& each : memory) {
      std::vector<float> values(each.bytes() / sizeof(float));
      device.download(each, 0, values.data(), each.bytes());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
};

/// The difference is at most `tolerance` of what is expected, by their norms.
inline void expect_close(const std::vector<float>& got, const std::vector<float>& expected, double tolerance,
                         const char* what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = static_cast<double>(got[i]) - static_cast<double>(expected[i]);
    difference += error * error;
    norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  ASSERT_TRUE(std::isfinite(difference)) << what;
  EXPECT_LE(std::sqrt(difference), tolerance * std::sqrt(norm)) << what;
}

}  // namespace bamba::backend::cuda::testing
