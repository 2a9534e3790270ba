#include "quantize/second_moment.h"

#include <bamba/tensor.h>

#include "model/transpose.h"

namespace bamba {

SecondMoment::SecondMoment(int64_t inputs) : inputs_(inputs), sums_(static_cast<size_t>(inputs * inputs)) {}

void SecondMoment::add(backend::Backend& device, const backend::Matrix& rows) {
  std::vector<float> host(static_cast<size_t>(rows.rows * rows.cols));
  device.download_rows(rows, host.data(), rows.cols);
  // X^T X as a linear layer: inputs X^T, weight X^T.
  Tensor transposed = Tensor::empty(DType::f32, {rows.cols, rows.rows});
  float* columns = transposed.data<float>().data();
  transpose(host.data(), rows.rows, rows.cols, columns);
  const auto weight = device.pack_linear(transposed, WeightFormat::f32);
  device.linear({columns, rows.cols, rows.rows, rows.rows}, *weight, nullptr, true,
                {sums_.data(), inputs_, inputs_, inputs_});
  rows_ += rows.rows;
}

std::vector<float> SecondMoment::diagonal() const {
  std::vector<float> out;
  for (int64_t i = 0; i < inputs_; ++i) out.push_back(sums_[static_cast<size_t>(i * inputs_ + i)]);
  return out;
}

}  // namespace bamba
