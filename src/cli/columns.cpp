#include "cli/columns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/str.h"

namespace bamba::cli {
namespace {

size_t column_bytes(const Tensor& tensor) {
  return tensor.nbytes() / static_cast<size_t>(tensor.dim(0) * tensor.dim(1));
}

/// log(sum(exp(row))), the sum in double.
double log_sum_exp(std::span<const float> row) {
  const float top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float value : row) sum += std::exp(static_cast<double>(value) - top);
  return std::log(sum) + top;
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

Tensor causal_lm_loss(const Tensor& logits, const Tensor& labels, const BambaConfig& config) {
  const auto rows = static_cast<size_t>(logits.dim(0));
  const auto columns = static_cast<size_t>(logits.dim(1));
  const auto vocab = static_cast<size_t>(logits.dim(2));
  const std::span<const float> values = logits.data<float>();
  const std::span<const int64_t> targets = labels.data<int64_t>();
  double nll = 0;
  double squares = 0;
  int64_t counted = 0;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t t = 0; t < columns; ++t) {
      const auto scores = values.subspan((row * columns + t) * vocab, vocab);
      const double total = log_sum_exp(scores);
      squares += total * total;
      if (t + 1 == columns) continue;
      const int64_t target = targets[row * columns + t + 1];
      if (target == -100) continue;
      if (target < 0 || target >= logits.dim(2)) {
        fail(ErrorCode::invalid_argument, "labels: ", target, " at [", row, ", ", t + 1,
             "] is neither -100 nor in [0, ", vocab, ")");
      }
      nll += total - scores[static_cast<size_t>(target)];
      ++counted;
    }
  }
  double loss = nll / static_cast<double>(counted);
  if (config.z_loss_coefficient > 0) {
    loss += config.z_loss_coefficient * squares / static_cast<double>(rows * columns);
  }
  const std::array<float, 1> value = {static_cast<float>(loss)};
  return Tensor::from(std::span<const float>(value), {});
}

}  // namespace bamba::cli
