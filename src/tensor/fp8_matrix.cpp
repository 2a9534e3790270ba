#include "tensor/fp8_matrix.h"

#include <array>
#include <cstring>

#include "base/str.h"

namespace bamba {
namespace {

const std::array<float, 256>& e4m3_values() {
  static const auto values = [] {
    std::array<float, 256> out{};
    for (unsigned code = 0; code < out.size(); ++code) out[code] = from_e4m3(static_cast<uint8_t>(code));
    return out;
  }();
  return values;
}

template <typename Element>
void read_row(const Tensor& tensor, int64_t row, float* out) {
  const int64_t cols = tensor.dim(1);
  const auto* source = static_cast<const Element*>(tensor.raw()) + row * cols;
  for (int64_t k = 0; k < cols; ++k) {
    if constexpr (std::is_same_v<Element, float>) {
      out[k] = source[k];
    } else {
      out[k] = to_float(source[k]);
    }
  }
}

}  // namespace

float from_e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::nanf("");
  const float magnitude = exponent == 0 ? std::scalbn(static_cast<float>(mantissa), -9)
                                        : std::scalbn(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

bool e4m3_is_finite(std::span<const uint8_t> codes) {
  // Eight at a time: one more than 0x7F, the sign left out, is the only sum that reaches a byte's top bit.
  uint64_t found = 0;
  size_t i = 0;
  for (; i + 8 <= codes.size(); i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, codes.data() + i, sizeof(eight));
    found |= ((eight & 0x7F7F7F7F7F7F7F7FU) + 0x0101010101010101U) & 0x8080808080808080U;
  }
  for (; i < codes.size(); ++i) found |= (codes[i] & 0x7FU) == 0x7FU ? 1U : 0U;
  return found == 0;
}

float fp8_quantize_block(const float* weights, int64_t rows, int64_t cols, int64_t stride, uint8_t* codes) {
  float largest = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const float weight = weights[r * stride + c];
      if (!std::isfinite(weight)) {
        fail(ErrorCode::non_finite, "a weight is ", weight, "; only finite weights can be quantized");
      }
      largest = std::max(largest, std::abs(weight));
    }
  }
  const float scale = largest / kE4m3Largest;
  for (int64_t r = 0; r < rows; ++r) {
    // Divided, not multiplied by the inverse, which would be infinite where the scale is subnormal.
    for (int64_t c = 0; c < cols; ++c) {
      codes[r * stride + c] = scale > 0 ? to_e4m3(weights[r * stride + c] / scale) : uint8_t{0};
    }
  }
  return scale;
}

Shape fp8_scales_shape(const Fp8Block& block, int64_t rows, int64_t cols) {
  // Not (n + size - 1) / size: a file may claim any size.
  const auto pieces = [](int64_t n, int64_t size) { return n / size + (n % size != 0 ? 1 : 0); };
  return {pieces(rows, block.rows), pieces(cols, block.cols)};
}

Fp8Matrix quantize_fp8(const Tensor& weight, ThreadPool& pool) {
  const int64_t rows = weight.dim(0);
  const int64_t cols = weight.dim(1);
  Fp8Matrix out{Tensor::empty(DType::f8_e4m3, {rows, cols}), std::vector<float>(static_cast<size_t>(rows)), {}};
  auto* codes = static_cast<uint8_t*>(out.codes.raw());
  constexpr int64_t kTaskElements = 1 << 18;
  const int64_t rows_of_task = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, cols));
  pool.parallel_for((rows + rows_of_task - 1) / rows_of_task, [&](int64_t task, int) {
    std::vector<float> values(static_cast<size_t>(cols));
    const int64_t end = std::min(rows, (task + 1) * rows_of_task);
    for (int64_t r = task * rows_of_task; r < end; ++r) {
      switch (weight.dtype()) {
        case DType::f32:
          read_row<float>(weight, r, values.data());
          break;
        case DType::bf16:
          read_row<bf16_t>(weight, r, values.data());
          break;
        case DType::f16:
          read_row<f16_t>(weight, r, values.data());
          break;
        default:
          fail(ErrorCode::unsupported, "a weight ", weight.describe(), " cannot be packed; F32, BF16, F16 can");
      }
      out.scales[static_cast<size_t>(r)] = fp8_quantize_block(values.data(), 1, cols, cols, codes + r * cols);
    }
  });
  return out;
}

void check_fp8(const Fp8Matrix& matrix, ThreadPool& pool) {
  const int64_t rows = matrix.codes.dim(0);
  const int64_t scales = matrix.block ? shape_numel(fp8_scales_shape(*matrix.block, rows, matrix.codes.dim(1))) : rows;
  if (static_cast<int64_t>(matrix.scales.size()) != scales) {
    fail(ErrorCode::internal, "an fp8 matrix has ", matrix.scales.size(), " scales; it must have ", scales);
  }
  const std::span codes(static_cast<const uint8_t*>(matrix.codes.raw()), static_cast<size_t>(matrix.codes.numel()));
  constexpr size_t kTaskCodes = size_t{1} << 20;
  pool.parallel_for(static_cast<int64_t>((codes.size() + kTaskCodes - 1) / kTaskCodes), [&](int64_t task, int) {
    const size_t first = static_cast<size_t>(task) * kTaskCodes;
    const auto piece = codes.subspan(first, std::min(kTaskCodes, codes.size() - first));
    if (e4m3_is_finite(piece)) return;
    const auto bad = std::find_if(piece.begin(), piece.end(), [](uint8_t code) { return (code & 0x7F) == 0x7F; });
    const auto place = static_cast<int64_t>(first) + (bad - piece.begin());
    fail(ErrorCode::non_finite, "the fp8 weight [", place / matrix.codes.dim(1), ", ", place % matrix.codes.dim(1),
         "] is NaN");
  });
}

Tensor widen_fp8(const Fp8Matrix& matrix) {
  const auto& values = e4m3_values();
  Tensor out = Tensor::empty(DType::f32, matrix.codes.shape());
  const auto* source = static_cast<const uint8_t*>(matrix.codes.raw());
  float* target = out.data<float>().data();
  const int64_t rows = matrix.codes.dim(0);
  const int64_t cols = matrix.codes.dim(1);
  const Fp8Block block = matrix.block.value_or(Fp8Block{1, std::max<int64_t>(1, cols)});
  const int64_t scale_cols = fp8_scales_shape(block, rows, cols)[1];
  const int64_t step = std::min(block.cols, cols);
  for (int64_t r = 0; r < rows; ++r) {
    const float* scale = matrix.scales.data() + r / block.rows * scale_cols;
    for (int64_t first = 0; first < cols; first += step, ++scale) {
      const int64_t count = std::min(step, cols - first);
      for (int64_t c = 0; c < count; ++c) *target++ = values[*source++] * *scale;
    }
  }
  return out;
}

}  // namespace bamba
