#include "quantize/quantize_matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/str.h"
#include "quantize/cholesky.h"
#include "quantize/group_search.h"

namespace bamba {
namespace {

constexpr int64_t kTaskRows = 16;
/// Inputs whose corrections from later blocks come from one matrix product; a multiple of every group.
constexpr int64_t kBlock = 128;
/// Added to the diagonal of H, as a part of its mean: what keeps a short text from being taken for the whole truth.
constexpr float kDamping = 0.01f;

template <typename Body>
void for_rows(ThreadPool& pool, int64_t rows, const Body& body) {
  pool.parallel_for((rows + kTaskRows - 1) / kTaskRows, [&](int64_t task, int) {
    for (int64_t r = task * kTaskRows; r < std::min(rows, (task + 1) * kTaskRows); ++r) body(r);
  });
}

/// f32 rows of a 16-bit or f32 tensor.
Tensor as_f32(const Tensor& weight) {
  return weight.dtype() == DType::f32 ? weight : weight.to(DType::f32);
}

void check_finite(std::span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::non_finite, "a weight is ", value, "; only finite weights can be quantized");
    }
  }
}

}  // namespace

QuantizedMatrix quantize_nearest(WeightFormat format, const Tensor& weight, ThreadPool& pool) {
  const Tensor values = as_f32(weight);
  const float* rows = values.data<float>().data();
  QuantizedMatrix out(format, weight.dim(0), weight.dim(1));
  for_rows(pool, out.rows, [&](int64_t r) {
    quantize_row(format, rows + r * out.cols, out.cols, out.row_scale(r), out.scales(r), out.codes(r));
  });
  return out;
}

QuantizedMatrix quantize_searched(WeightFormat format, const Tensor& weight, std::span<const float> importance,
                                  ThreadPool& pool) {
  const Tensor values = as_f32(weight);
  const float* rows = values.data<float>().data();
  QuantizedMatrix out(format, weight.dim(0), weight.dim(1));
  for_rows(pool, out.rows, [&](int64_t r) {
    search_row(format, rows + r * out.cols, importance.empty() ? nullptr : importance.data(), out.cols,
               out.row_scale(r), out.scales(r), out.codes(r));
  });
  return out;
}

FeedbackQuantizer::FeedbackQuantizer(backend::Backend& device, ThreadPool& pool, const SecondMoment& moment)
    : device_(device), pool_(pool), n_(moment.inputs()) {
  double mean = 0;
  for (const float value : moment.diagonal()) mean += value;
  mean /= static_cast<double>(n_);
  if (!std::isfinite(mean)) {
    fail(ErrorCode::non_finite, "the calibration text makes activations that are not finite");
  }
  // An input that is always zero may be rounded in any way.
  auto damping = static_cast<float>(mean > 0 ? mean * kDamping : 1);
  for (;; damping *= 10) {
    factor_.assign(moment.matrix().begin(), moment.matrix().end());
    for (int64_t i = 0; i < n_; ++i) factor_[static_cast<size_t>(i * n_ + i)] += damping;
    if (cholesky(device_, pool_, factor_, n_)) return;
  }
}

QuantizedMatrix FeedbackQuantizer::quantize(WeightFormat format, const Tensor& weight) {
  const Tensor values = as_f32(weight);
  check_finite(values.data<float>());
  QuantizedMatrix out(format, weight.dim(0), weight.dim(1));
  for (int64_t r = 0; r < out.rows; ++r) {
    *out.row_scale(r) = search_row_scale(format, values.data<float>().data() + r * n_, n_);
  }
  errors_.assign(static_cast<size_t>(out.rows * n_), 0.0f);
  std::vector<float> carried(static_cast<size_t>(out.rows * kBlock));
  for (int64_t first = (n_ - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
    const int64_t end = std::min(first + kBlock, n_);
    const int64_t later = n_ - end;
    if (later > 0) {
      // carried[r, k] = sum over j >= end of d[r, j] R[k, j]
      Tensor block = Tensor::empty(DType::f32, {end - first, later});
      float* target = block.data<float>().data();
      for (int64_t j = 0; j < later; ++j) {
        for (int64_t k = first; k < end; ++k) {
          target[(k - first) * later + j] = factor_[static_cast<size_t>((end + j) * n_ + k)];
        }
      }
      const auto packed = device_.pack_linear(block, WeightFormat::f32);
      device_.linear({errors_.data() + end, out.rows, later, n_}, *packed, nullptr, false,
                     {carried.data(), out.rows, end - first, kBlock});
    }
    quantize_columns(out, values, carried, first, end);
  }
  return out;
}

/// Inputs [first, end) of all rows, from the last to the first.
void FeedbackQuantizer::quantize_columns(QuantizedMatrix& out, const Tensor& weight, const std::vector<float>& carried,
                                         int64_t first, int64_t end) {
  const bool carries = end < n_;
  const float* factor = factor_.data();
  std::vector<float> importance(kBlock);
  for (int64_t k = first; k < end; ++k) {
    const float pivot = factor[k * n_ + k];
    importance[static_cast<size_t>(k - first)] = pivot * pivot;
  }
  for_rows(pool_, out.rows, [&](int64_t r) {
    const float* w = weight.data<float>().data() + r * n_;
    float* d = errors_.data() + r * n_;
    // sums[k - first]: what the inputs done so far add to R_kk times weight k.
    float sums[kBlock] = {};
    if (carries) std::copy_n(carried.data() + r * kBlock, end - first, sums);
    float corrected[kBlock];
    for (int64_t begin = (end - 1) / out.group * out.group; begin >= first; begin -= out.group) {
      const int64_t stop = std::min(begin + out.group, end);
      for (int64_t k = begin; k < stop; ++k) corrected[k - begin] = w[k] + sums[k - first] / factor[k * n_ + k];
      const int8_t multiple =
          search_scale(out.format, corrected, importance.data() + (begin - first), stop - begin, *out.row_scale(r));
      out.scales(r)[begin / out.group] = multiple;
      const float scale = *out.row_scale(r) * static_cast<float>(multiple);
      for (int64_t k = stop - 1; k >= begin; --k) {
        const float wanted = w[k] + sums[k - first] / factor[k * n_ + k];
        const int8_t code = nearest_code(out.format, scale != 0 ? wanted / scale : 0.0f);
        out.codes(r)[k] = code;
        d[k] = w[k] - dequantized(out.format, scale, code);
        const float* row = factor + k * n_;
        for (int64_t j = first; j < k; ++j) sums[j - first] += d[k] * row[j];
      }
    }
  });
}

}  // namespace bamba
