#include "cli/columns.h"

#include <algorithm>
#include <cstring>

namespace bamba::cli {
namespace {

size_t column_bytes(const Tensor& tensor) {
  return tensor.nbytes() / static_cast<size_t>(tensor.dim(0) * tensor.dim(1));
}

}  // namespace

Tensor slice_columns(const Tensor& tensor, int64_t begin, int64_t end) {
  Shape shape = tensor.shape();
  shape.at(1) = end - begin;
  Tensor out = Tensor::empty(tensor.dtype(), std::move(shape));
  const size_t column = column_bytes(tensor);
  const auto width = static_cast<size_t>(tensor.dim(1));
  const auto first = static_cast<size_t>(begin);
  const auto count = static_cast<size_t>(end - begin);
  for (size_t row = 0; row < static_cast<size_t>(tensor.dim(0)); ++row) {
    std::memcpy(static_cast<char*>(out.raw()) + row * count * column,
                static_cast<const char*>(tensor.raw()) + (row * width + first) * column, count * column);
  }
  return out;
}

void put_columns(const Tensor& piece, Tensor& target, int64_t begin) {
  const size_t column = column_bytes(piece);
  const auto count = static_cast<size_t>(piece.dim(1));
  const auto width = static_cast<size_t>(target.dim(1));
  for (size_t row = 0; row < static_cast<size_t>(piece.dim(0)); ++row) {
    std::memcpy(static_cast<char*>(target.raw()) + (row * width + static_cast<size_t>(begin)) * column,
                static_cast<const char*>(piece.raw()) + row * count * column, count * column);
  }
}

void put_attention(const Tensor& piece, Tensor& target, int64_t begin) {
  const auto count = static_cast<size_t>(piece.dim(2));
  const auto keys = static_cast<size_t>(piece.dim(3));
  const auto side = static_cast<size_t>(target.dim(3));
  const float* from = piece.data<float>().data();
  float* to = target.data<float>().data();
  for (size_t head = 0; head < static_cast<size_t>(piece.dim(0) * piece.dim(1)); ++head) {
    for (size_t row = 0; row < count; ++row) {
      std::copy_n(from + (head * count + row) * keys, keys,
                  to + (head * side + static_cast<size_t>(begin) + row) * side);
    }
  }
}

}  // namespace bamba::cli
