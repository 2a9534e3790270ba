#include "backend/cuda/converted.h"

#include <algorithm>
#include <cstring>

namespace bamba::backend::cuda {

Tensor converted(const Tensor& weight, DType type, ThreadPool& pool) {
  if (weight.dtype() == type) return weight;
  Tensor out = Tensor::empty(type, weight.shape());
  const int64_t rows = weight.dim(0);
  const int64_t cols = weight.dim(1);
  const auto from_row = static_cast<size_t>(cols) * dtype_size(weight.dtype());
  const auto to_row = static_cast<size_t>(cols) * dtype_size(type);
  const int64_t at_once = std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, cols));
  const auto* source = static_cast<const std::byte*>(weight.raw());
  auto* target = static_cast<std::byte*>(out.raw());
  pool.parallel_for((rows + at_once - 1) / at_once, [&](int64_t piece, int) {
    const int64_t first = piece * at_once;
    const int64_t count = std::min(at_once, rows - first);
    const Tensor part =
        Tensor::view(weight.dtype(), {count, cols}, source + static_cast<size_t>(first) * from_row, nullptr);
    const Tensor done = part.to(type);
    std::memcpy(target + static_cast<size_t>(first) * to_row, done.raw(), static_cast<size_t>(count) * to_row);
  });
  return out;
}

}  // namespace bamba::backend::cuda
