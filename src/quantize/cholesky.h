// Cholesky factors of large symmetric matrices, most of the work done by the backend's matrix product.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "base/thread_pool.h"

namespace bamba {

/// Overwrites a symmetric positive definite matrix [n, n] with L (zeros above the diagonal), L L^T = matrix. Returns
/// false, with the contents lost, when it is not positive definite in f32.
[[nodiscard]] bool cholesky(backend::Backend& device, ThreadPool& pool, std::span<float> matrix, int64_t n);

}  // namespace bamba
