// Packing of linear weights, and reading single elements back. Not speed-critical beyond "as fast as the disk".
#include <bamba/error.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "backend/cpu/linear.h"
#include "backend/cpu/pack_quantized.h"
#include "backend/cpu/quantized.h"
#include "base/str.h"

namespace bamba::backend::cpu {
namespace {

float read_element(const std::byte* data, WeightFormat format, int64_t i) {
  switch (format) {
    case WeightFormat::f32:
      return reinterpret_cast<const float*>(data)[i];
    case WeightFormat::bf16:
      return to_float(reinterpret_cast<const bf16_t*>(data)[i]);
    case WeightFormat::f16:
      return to_float(reinterpret_cast<const f16_t*>(data)[i]);
    default:
      return 0;  // q8 and q4: see pack_quantized.cpp
  }
}

// Conversions between storage types; a copy when they are the same.
template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, float>) {
    return to_float(value);
  } else {
    float middle;
    if constexpr (std::is_same_v<From, float>) {
      middle = value;
    } else {
      middle = to_float(value);
    }
    if constexpr (std::is_same_v<To, bf16_t>) {
      return to_bf16(middle);
    } else {
      return to_f16(middle);
    }
  }
}

/// One panel: transposes `rows` rows of [out, in] to [in][kPanel], in blocks that stay in L1. As many rows are taken
/// together as make 16 bytes of the panel, so that it is written in registers, not in elements.
template <typename To, typename From>
void pack_panel(const From* source, int64_t in, int64_t rows, To* panel) {
  constexpr int64_t kBlock = 16;
  constexpr int64_t kTogether = 16 / sizeof(To);
  for (int64_t k0 = 0; k0 < in; k0 += kBlock) {
    const int64_t k1 = std::min(in, k0 + kBlock);
    int64_t r = 0;
    for (; r + kTogether <= rows; r += kTogether) {
      for (int64_t k = k0; k < k1; ++k) {
        std::array<To, kTogether> column;
        for (int64_t i = 0; i < kTogether; ++i) column[static_cast<size_t>(i)] = convert<To>(source[(r + i) * in + k]);
        std::memcpy(panel + k * kPanel + r, column.data(), sizeof(column));
      }
    }
    for (; r < rows; ++r) {
      for (int64_t k = k0; k < k1; ++k) panel[k * kPanel + r] = convert<To>(source[r * in + k]);
    }
    for (; r < kPanel; ++r) {
      for (int64_t k = k0; k < k1; ++k) panel[k * kPanel + r] = To{};
    }
  }
}

template <typename To, typename From>
void pack(Context& context, const From* source, CpuLinearWeight& weight) {
  const int64_t in = weight.in_features();
  const int64_t out = weight.out_features();
  To* target = reinterpret_cast<To*>(weight.data());
  const bool rows_layout = weight.layout() == CpuLinearWeight::Layout::rows;
  context.parallel_exact(weight.panels(), out * in, [&](int64_t panel, Scratch&) {
    const int64_t first = panel * kPanel;
    const int64_t rows = std::min(kPanel, out - first);
    if (rows_layout) {
      for (int64_t i = first * in; i < (first + rows) * in; ++i) target[i] = convert<To>(source[i]);
    } else {
      pack_panel(source + first * in, in, rows, target + first * in);
    }
  });
}

template <typename From>
void pack_from(Context& context, const Tensor& tensor, CpuLinearWeight& weight) {
  const From* source = static_cast<const From*>(tensor.raw());
  switch (weight.format()) {
    case WeightFormat::f32:
      pack<float>(context, source, weight);
      break;
    case WeightFormat::bf16:
      pack<bf16_t>(context, source, weight);
      break;
    case WeightFormat::f16:
      pack<f16_t>(context, source, weight);
      break;
    default:
      quantize_and_pack(
          context,
          [source, in = weight.in_features()](int64_t row, float* values) {
            for (int64_t k = 0; k < in; ++k) values[k] = convert<float>(source[row * in + k]);
          },
          weight);
      break;
  }
}

}  // namespace

CpuLinearWeight::CpuLinearWeight(int64_t out, int64_t in, WeightFormat format, Layout layout)
    : LinearWeight(out, in, format), layout_(layout) {
  const int64_t rows = layout == Layout::rows ? out : panels() * kPanel;
  bytes_ = is_quantized(format) ? quantized_bytes(out, in, format)
                                : static_cast<size_t>(rows) * static_cast<size_t>(in) * element_size();
  owned_.reset(static_cast<std::byte*>(allocate_memory(bytes_)), FreeMemory());
  data_ = owned_;
}

CpuLinearWeight::CpuLinearWeight(int64_t out, int64_t in, WeightFormat format, std::shared_ptr<const std::byte> memory)
    : LinearWeight(out, in, format),
      layout_(Layout::panels),
      bytes_(quantized_bytes(out, in, format)),
      data_(std::move(memory)) {}

std::unique_ptr<LinearWeight> pack_linear(Context& context, const Tensor& weight, WeightFormat format,
                                          CpuLinearWeight::Layout layout) {
  auto packed = std::make_unique<CpuLinearWeight>(weight.dim(0), weight.dim(1), format, layout);
  switch (weight.dtype()) {
    case DType::f32:
      pack_from<float>(context, weight, *packed);
      break;
    case DType::bf16:
      pack_from<bf16_t>(context, weight, *packed);
      break;
    case DType::f16:
      pack_from<f16_t>(context, weight, *packed);
      break;
    default:
      fail(ErrorCode::unsupported, "a weight ", weight.describe(), " cannot be packed; F32, BF16, F16 can");
  }
  return packed;
}

void unpack_linear(Context& context, const CpuLinearWeight& weight, int64_t first_row, int64_t rows, float* host) {
  const int64_t in = weight.in_features();
  context.parallel_exact(rows, rows * in, [&](int64_t r, Scratch&) {
    if (is_quantized(weight.format())) {
      read_quantized_row(weight, first_row + r, host + r * in);
      return;
    }
    for (int64_t k = 0; k < in; ++k) {
      host[r * in + k] = read_element(weight.data(), weight.format(), weight.index(first_row + r, k));
    }
  });
}

void embed(Context& context, std::span<const int32_t> ids, const CpuLinearWeight& table, Matrix out) {
  constexpr int64_t kWorkOfElement = 32;  // single elements, at several nanoseconds each
  context.parallel_exact(
      static_cast<int64_t>(ids.size()), out.rows * out.cols * kWorkOfElement, [&](int64_t r, Scratch&) {
        if (is_quantized(table.format())) {
          read_quantized_row(table, ids[static_cast<size_t>(r)], out.data + r * out.stride);
          return;
        }
        for (int64_t k = 0; k < out.cols; ++k) {
          out.data[r * out.stride + k] =
              read_element(table.data(), table.format(), table.index(ids[static_cast<size_t>(r)], k));
        }
      });
}

}  // namespace bamba::backend::cpu
