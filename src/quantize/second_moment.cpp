#include "quantize/second_moment.h"

#include <bamba/tensor.h>

#include "model/transpose.h"

namespace bamba {

SecondMoment::SecondMoment(int64_t inputs, Part part)
    : inputs_(inputs), part_(part), sums_(static_cast<size_t>(part == Part::matrix ? inputs * inputs : inputs)) {}

void SecondMoment::add(backend::Backend& device, const backend::Matrix& rows) {
  std::vector<float> host(static_cast<size_t>(rows.rows * rows.cols));
  device.download_rows(rows, host.data(), rows.cols);
  if (part_ == Part::diagonal) {
    add_squares(host);
    return;
  }
  // X^T X as a linear layer: inputs X^T, weight X^T.
  Tensor transposed = Tensor::empty(DType::f32, {rows.cols, rows.rows});
  float* columns = transposed.data<float>().data();
  transpose(host.data(), rows.rows, rows.cols, columns);
  const auto weight = device.pack_linear(transposed, WeightFormat::f32);
  device.linear({columns, rows.cols, rows.rows, rows.rows}, *weight, nullptr, true,
                {sums_.data(), inputs_, inputs_, inputs_});
}

void SecondMoment::add_squares(std::span<const float> rows) {
  const auto width = static_cast<size_t>(inputs_);
  for (size_t first = 0; first < rows.size(); first += width) {
    for (size_t i = 0; i < width; ++i) sums_[i] += rows[first + i] * rows[first + i];
  }
}

std::vector<float> SecondMoment::diagonal() const {
  if (part_ == Part::diagonal) return sums_;
  std::vector<float> out;
  for (int64_t i = 0; i < inputs_; ++i) out.push_back(sums_[static_cast<size_t>(i * inputs_ + i)]);
  return out;
}

}  // namespace bamba
