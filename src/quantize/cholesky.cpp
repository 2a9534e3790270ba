#include "quantize/cholesky.h"

#include <bamba/tensor.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace bamba {
namespace {

constexpr int64_t kPanel = 128;
constexpr int64_t kPanelTaskRows = 16;

/// The factor of the block of `size` at `a` (row stride n), in f64.
bool factor_block(float* a, int64_t size, int64_t n) {
  std::vector<double> l(static_cast<size_t>(size * size));
  const auto at = [&](int64_t i, int64_t j) -> double& { return l[static_cast<size_t>(i * size + j)]; };
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (int64_t k = 0; k < j; ++k) sum -= at(i, k) * at(j, k);
      if (i == j) {
        if (!(sum > 0)) return false;
        at(i, i) = std::sqrt(sum);
      } else {
        at(i, j) = sum / at(j, j);
      }
    }
  }
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) a[i * n + j] = j <= i ? static_cast<float>(at(i, j)) : 0.0f;
  }
  return true;
}

/// row := row * L^-T, for the block's lower triangular L.
void solve_row(const float* l, int64_t size, int64_t n, float* row) {
  for (int64_t j = 0; j < size; ++j) {
    float sum = row[j];
    for (int64_t k = 0; k < j; ++k) sum -= row[k] * l[j * n + k];
    row[j] = sum / l[j * n + j];
  }
}

}  // namespace

bool cholesky(backend::Backend& device, ThreadPool& pool, std::span<float> matrix, int64_t n) {
  float* a = matrix.data();
  for (int64_t first = 0; first < n; first += kPanel) {
    const int64_t size = std::min(kPanel, n - first);
    float* diagonal = a + first * n + first;
    if (!factor_block(diagonal, size, n)) return false;
    const int64_t below = n - first - size;
    if (below == 0) break;
    // The panel below: P L^T = A, and what is right of it loses P P^T.
    Tensor panel = Tensor::empty(DType::f32, {below, size});
    std::vector<float> negative(static_cast<size_t>(below * size));
    float* p = panel.data<float>().data();
    pool.parallel_for((below + kPanelTaskRows - 1) / kPanelTaskRows, [&](int64_t task, int) {
      for (int64_t i = task * kPanelTaskRows; i < std::min(below, (task + 1) * kPanelTaskRows); ++i) {
        float* row = a + (first + size + i) * n + first;
        solve_row(diagonal, size, n, row);
        std::copy_n(row, size, p + i * size);
        for (int64_t j = 0; j < size; ++j) negative[static_cast<size_t>(i * size + j)] = -row[j];
      }
    });
    const auto weight = device.pack_linear(panel, WeightFormat::f32);
    device.linear({negative.data(), below, size, size}, *weight, nullptr, true,
                  {a + (first + size) * n + first + size, below, below, n});
  }
  for (int64_t i = 0; i < n; ++i) std::fill(a + i * n + i + 1, a + (i + 1) * n, 0.0f);
  return true;
}

}  // namespace bamba
