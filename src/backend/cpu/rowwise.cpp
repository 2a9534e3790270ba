#include "backend/cpu/rowwise.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rowwise.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::Context;
using cpu::Scratch;

/// out = weight * in / sqrt(mean(in^2) + eps) over n elements; in may be out.
HWY_INLINE void normalise(const float* in, const float* weight, float eps, int64_t n, float* out) {
  RowSum squares;
  for (int64_t i = 0; i < n; i += kLanes) {
    const auto v = load_n(in + i, n - i);
    squares.add_product(i, v, v);
  }
  const float scale = 1.0f / std::sqrt(squares.total() / static_cast<float>(n) + eps);
  const auto scales = hn::Set(F32(), scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    const auto v = hn::Mul(load_n(in + i, n - i), scales);
    store_n(hn::Mul(load_n(weight + i, n - i), v), out + i, n - i);
  }
}

void rms_norm(Context& context, Matrix in, const float* weight, float eps, Matrix out) {
  context.parallel(in.rows, 16 * in.rows * in.cols, [&](int64_t r, Scratch&) HWY_ATTR {
    normalise(in.data + r * in.stride, weight, eps, in.cols, out.data + r * out.stride);
  });
}

void gated_rms_norm(Context& context, Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups) {
  const int64_t width = inout.cols / groups;
  context.parallel(inout.rows, 16 * inout.rows * inout.cols, [&](int64_t r, Scratch&) HWY_ATTR {
    float* row = inout.data + r * inout.stride;
    const float* z = gate.data + r * gate.stride;
    for (int64_t i = 0; i < inout.cols; i += kLanes) {
      const int64_t left = inout.cols - i;
      store_n(hn::Mul(load_n(row + i, left), silu_f32(load_n(z + i, left))), row + i, left);
    }
    for (int64_t g = 0; g < groups; ++g) {
      normalise(row + g * width, weight + g * width, eps, width, row + g * width);
    }
  });
}

template <typename Function>
void gated_activation_of(Context& context, Matrix gate, Matrix up, Function function) {
  context.parallel(gate.rows, 16 * gate.rows * gate.cols, [&](int64_t r, Scratch&) HWY_ATTR {
    float* g = gate.data + r * gate.stride;
    const float* u = up.data + r * up.stride;
    for (int64_t i = 0; i < gate.cols; i += kLanes) {
      const int64_t left = gate.cols - i;
      store_n(hn::Mul(function(load_n(g + i, left)), load_n(u + i, left)), g + i, left);
    }
  });
}

void gated_activation(Context& context, Matrix gate, Matrix up, Activation activation) {
  with_activation(activation, [&](auto function) { gated_activation_of(context, gate, up, function); });
}

/// The largest value, or a NaN where one is not finite.
float largest_finite(const float* row, int64_t cols) {
  const F32 d;
  auto largest = hn::Set(d, row[0]);
  auto zeros = hn::Zero(d);  // 0 times what is not finite is NaN, and stays one in a sum
  for (int64_t i = 0; i < cols; i += kLanes) {
    const auto value = cols - i >= kLanes ? hn::LoadU(d, row + i) : hn::Set(d, row[i]);
    largest = hn::Max(largest, value);
    zeros = hn::MulAdd(value, hn::Zero(d), zeros);
    if (cols - i < kLanes) {
      for (int64_t j = i + 1; j < cols; ++j) {
        largest = hn::Max(largest, hn::Set(d, row[j]));
        zeros = hn::MulAdd(hn::Set(d, row[j]), hn::Zero(d), zeros);
      }
    }
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest)) + hn::GetLane(hn::SumOfLanes(d, zeros));
}

void best_columns(Context& context, Matrix in, std::span<int64_t> columns) {
  context.parallel(in.rows, in.rows * in.cols, [&](int64_t r, Scratch&) HWY_ATTR {
    const float* row = in.data + r * in.stride;
    const float largest = largest_finite(row, in.cols);
    const float* end = row + in.cols;
    columns[static_cast<size_t>(r)] =
        std::isnan(largest) ? row - 1 - std::find_if(row, end, [](float value) { return !std::isfinite(value); })
                            : std::find(row, end, largest) - row;
  });
}

void rotate(Context& context, Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim,
            const float* cos_sin) {
  const int64_t half = rotary_dim / 2;
  context.parallel(heads.rows, 4 * heads.rows * n_heads * rotary_dim, [&](int64_t r, Scratch&) HWY_ATTR {
    const float* cosines = cos_sin + r * rotary_dim;
    const float* sines = cosines + half;
    for (int64_t h = 0; h < n_heads; ++h) {
      float* first = heads.data + r * heads.stride + h * head_dim;
      float* second = first + half;
      for (int64_t j = 0; j < half; j += kLanes) {
        const int64_t left = half - j;
        const auto a = load_n(first + j, left);
        const auto b = load_n(second + j, left);
        const auto c = load_n(cosines + j, left);
        const auto s = load_n(sines + j, left);
        store_n(hn::NegMulAdd(b, s, hn::Mul(a, c)), first + j, left);
        store_n(hn::MulAdd(a, s, hn::Mul(b, c)), second + j, left);
      }
    }
  });
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(rms_norm);
HWY_EXPORT(gated_rms_norm);
HWY_EXPORT(gated_activation);
HWY_EXPORT(best_columns);
HWY_EXPORT(rotate);

namespace cpu {
void rms_norm(Context& context, Matrix in, const float* weight, float eps, Matrix out) {
  HWY_DYNAMIC_DISPATCH(rms_norm)(context, in, weight, eps, out);
}
void gated_rms_norm(Context& context, Matrix inout, Matrix gate, const float* weight, float eps, int64_t groups) {
  HWY_DYNAMIC_DISPATCH(gated_rms_norm)(context, inout, gate, weight, eps, groups);
}
void gated_activation(Context& context, Matrix gate, Matrix up, Activation activation) {
  HWY_DYNAMIC_DISPATCH(gated_activation)(context, gate, up, activation);
}
void best_columns(Context& context, Matrix in, std::span<int64_t> columns) {
  HWY_DYNAMIC_DISPATCH(best_columns)(context, in, columns);
}
void rotate(Context& context, Matrix heads, int64_t n_heads, int64_t head_dim, int64_t rotary_dim,
            const float* cos_sin) {
  HWY_DYNAMIC_DISPATCH(rotate)(context, heads, n_heads, head_dim, rotary_dim, cos_sin);
}
}  // namespace cpu
}  // namespace bamba::backend
#endif
