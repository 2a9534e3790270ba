// The one matrix-product microkernel: C[rows, cols] (+)= X[rows, k] * W[k, cols].
//
// Lanes lie along the columns, so every output is one chain of multiply-adds over k in order, in whatever tile,
// register width or row count it happens to be computed. That is what makes prefill equal decoding bit for bit, and
// it needs no horizontal sums.
#if defined(BAMBA_BACKEND_CPU_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BAMBA_BACKEND_CPU_TILE_INL_H_
#undef BAMBA_BACKEND_CPU_TILE_INL_H_
#else
#define BAMBA_BACKEND_CPU_TILE_INL_H_
#endif

#include "backend/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

// FMA takes 4 cycles at 2 a cycle: at least 8 independent accumulators. AVX-512 has 32 registers: 6 x 4 accumulators,
// 4 of W, 1 broadcast of X. AVX2 and SSE4 have 16: 6 x 2 and 2 x 4 accumulators.
constexpr int kTileVectors = kLanes == 8 ? 2 : 4;
constexpr int kTileRows = kLanes == 4 ? 2 : 6;
constexpr int64_t kTileCols = kTileVectors * kLanes;

HWY_INLINE VecF32 load_weight(const float* p) {
  return hn::LoadU(F32(), p);
}
HWY_INLINE VecF32 load_weight(const hwy::bfloat16_t* p) {
  return hn::PromoteTo(F32(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, F32>(), p));
}
HWY_INLINE VecF32 load_weight(const hwy::float16_t* p) {
  return hn::PromoteTo(F32(), hn::LoadU(hn::Rebind<hwy::float16_t, F32>(), p));
}

template <int kRows, int kVectors, typename W>
HWY_INLINE void tile(const float* HWY_RESTRICT x, int64_t x_stride, const W* HWY_RESTRICT w, int64_t w_stride,
                     int64_t depth, float* HWY_RESTRICT c, int64_t c_stride, bool accumulate) {
  const F32 d;
  VecF32 sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = accumulate ? hn::LoadU(d, c + r * c_stride + v * kLanes) : hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    VecF32 weights[kVectors];
    for (int v = 0; v < kVectors; ++v) weights[v] = load_weight(w + k * w_stride + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const auto value = hn::Set(d, x[r * x_stride + k]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, weights[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, c + r * c_stride + v * kLanes);
  }
}

/// A tile of `rows` < kTileRows rows.
template <int kRows, int kVectors, typename W>
HWY_INLINE void tile_tail(const float* x, int64_t x_stride, int64_t rows, const W* w, int64_t w_stride, int64_t depth,
                          float* c, int64_t c_stride, bool accumulate) {
  if (rows == kRows) {
    tile<kRows, kVectors>(x, x_stride, w, w_stride, depth, c, c_stride, accumulate);
  } else if constexpr (kRows > 1) {
    tile_tail<kRows - 1, kVectors>(x, x_stride, rows, w, w_stride, depth, c, c_stride, accumulate);
  }
}

template <int kVectors, typename W>
HWY_INLINE void tile_column(const float* x, int64_t x_stride, int64_t rows, const W* w, int64_t w_stride, int64_t depth,
                            float* c, int64_t c_stride, bool accumulate) {
  int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    tile<kTileRows, kVectors>(x + r * x_stride, x_stride, w, w_stride, depth, c + r * c_stride, c_stride, accumulate);
  }
  tile_tail<kTileRows - 1, kVectors>(x + r * x_stride, x_stride, rows - r, w, w_stride, depth, c + r * c_stride,
                                     c_stride, accumulate);
}

/// cols must be a multiple of 16; rows, k and the strides are free.
template <typename W>
HWY_INLINE void multiply(const float* x, int64_t x_stride, int64_t rows, const W* w, int64_t w_stride, int64_t cols,
                         int64_t depth, float* c, int64_t c_stride, bool accumulate) {
  int64_t col = 0;
  for (; col + kTileCols <= cols; col += kTileCols) {
    tile_column<kTileVectors>(x, x_stride, rows, w + col, w_stride, depth, c + col, c_stride, accumulate);
  }
  for (; col < cols; col += kLanes) {
    tile_column<1>(x, x_stride, rows, w + col, w_stride, depth, c + col, c_stride, accumulate);
  }
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
