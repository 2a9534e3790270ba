// Products of a few rows with one page's keys or values: C[rows, columns] (+)= X[rows, depth] * W[depth, columns].
//
// Like the matrix kernel of linear layers, lanes lie along the columns and every output is one chain of multiply-adds
// over the depth in order, for any number of rows and in any register width.
#if defined(BAMBA_BACKEND_CPU_PAGE_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BAMBA_BACKEND_CPU_PAGE_PRODUCT_INL_H_
#undef BAMBA_BACKEND_CPU_PAGE_PRODUCT_INL_H_
#else
#define BAMBA_BACKEND_CPU_PAGE_PRODUCT_INL_H_
#endif

#include "backend/cpu/attention.h"
#include "backend/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

// Accumulators of a tile, as many as registers allow: 6 x 4 of AVX-512's 32; 6 x 2 and 2 x 4 of AVX2's and SSE4's 16.
constexpr int kPageVectors = kLanes == 8 ? 2 : 4;
constexpr int kPageRows = kLanes == 4 ? 2 : 6;

/// A matrix in a page: `columns` counts what a row holds, filling included.
template <typename Element>
struct PageMatrix {
  const Element* data;
  int64_t depth;
  int64_t columns;
  /// Distance in bytes to what will be read next, fetched while this is read: the same place of another matrix of
  /// this size, or 0.
  std::ptrdiff_t ahead = 0;
};

/// First column of the v-th vector of a row, in the order in which load_vectors() gives them.
HWY_INLINE constexpr int64_t column_of(const float*, int64_t v) {
  return v * kLanes;
}
HWY_INLINE constexpr int64_t column_of(const uint16_t*, int64_t v) {
  constexpr int64_t kHalf = cpu::kPairedColumns / 2;
  const int64_t lane = v / 2 * kLanes;
  return lane / kHalf * cpu::kPairedColumns + lane % kHalf + v % 2 * kHalf;
}

template <int kVectors>
HWY_INLINE void load_vectors(const float* row, VecF32 (&out)[kVectors]) {
  BAMBA_UNROLL
  for (int v = 0; v < kVectors; ++v) out[v] = hn::LoadU(F32(), row + v * kLanes);
}
template <int kVectors>
HWY_INLINE void load_vectors(const uint16_t* row, VecF32 (&out)[kVectors]) {
  static_assert(kVectors % 2 == 0);
  const hn::RebindToUnsigned<F32> words;
  const hn::Repartition<uint16_t, F32> halves;
  BAMBA_UNROLL
  for (int v = 0; v < kVectors; v += 2) {
    const auto pair = hn::BitCast(words, hn::LoadU(halves, row + v * kLanes));
    out[v] = hn::BitCast(F32(), hn::ShiftLeft<16>(pair));
    out[v + 1] = hn::BitCast(F32(), hn::And(pair, hn::Set(words, 0xFFFF0000U)));
  }
}

/// Vectors [v0, v0 + kVectors) of each row of w.
template <int kRows, int kVectors, bool kFetchAhead, typename Element>
HWY_INLINE void page_tile(const float* HWY_RESTRICT x, int64_t x_stride, const PageMatrix<Element>& w, int64_t v0,
                          float* HWY_RESTRICT c, int64_t c_stride, bool accumulate) {
  const F32 d;
  VecF32 sums[kRows][kVectors];
  BAMBA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    BAMBA_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = accumulate ? hn::LoadU(d, c + r * c_stride + column_of(w.data, v0 + v)) : hn::Zero(d);
    }
  }
  const Element* row = w.data + v0 * kLanes;
  for (int64_t k = 0; k < w.depth; ++k, row += w.columns) {
    VecF32 values[kVectors];
    load_vectors(row, values);
    if constexpr (kFetchAhead) {
      constexpr auto kBytes = static_cast<std::ptrdiff_t>(kVectors * kLanes * sizeof(Element));
      const auto* next = reinterpret_cast<const char*>(row) + w.ahead;
      BAMBA_UNROLL
      for (std::ptrdiff_t b = 0; b < kBytes; b += 64) __builtin_prefetch(next + b);
    }
    BAMBA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, x[r * x_stride + k]);
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(factor, values[v], sums[r][v]);
    }
  }
  BAMBA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    BAMBA_UNROLL
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, c + r * c_stride + column_of(w.data, v0 + v));
  }
}

/// The last rows, at most kRows; they come alone when a text is decoded, and then memory decides the speed.
template <int kRows, int kVectors, typename Element>
HWY_INLINE void page_tile_tail(const float* x, int64_t x_stride, int64_t rows, const PageMatrix<Element>& w, int64_t v0,
                               float* c, int64_t c_stride, bool accumulate) {
  if (rows == kRows) {
    page_tile<kRows, kVectors, true>(x, x_stride, w, v0, c, c_stride, accumulate);
  } else if constexpr (kRows > 1) {
    page_tile_tail<kRows - 1, kVectors>(x, x_stride, rows, w, v0, c, c_stride, accumulate);
  }
}

template <int kVectors, typename Element>
HWY_INLINE void page_tile_column(const float* x, int64_t x_stride, int64_t rows, const PageMatrix<Element>& w,
                                 int64_t v0, float* c, int64_t c_stride, bool accumulate) {
  int64_t r = 0;
  for (; r + kPageRows < rows; r += kPageRows) {
    page_tile<kPageRows, kVectors, false>(x + r * x_stride, x_stride, w, v0, c + r * c_stride, c_stride, accumulate);
  }
  page_tile_tail<kPageRows, kVectors>(x + r * x_stride, x_stride, rows - r, w, v0, c + r * c_stride, c_stride,
                                      accumulate);
}

template <typename Element>
HWY_NOINLINE void page_product(const float* x, int64_t x_stride, int64_t rows, const PageMatrix<Element>& w, float* c,
                               int64_t c_stride, bool accumulate) {
  const int64_t vectors = w.columns / kLanes;
  int64_t v = 0;
  for (; v + kPageVectors <= vectors; v += kPageVectors) {
    page_tile_column<kPageVectors>(x, x_stride, rows, w, v, c, c_stride, accumulate);
  }
  constexpr int kRest = std::is_same_v<Element, float> ? 1 : 2;
  for (; v < vectors; v += kRest) page_tile_column<kRest>(x, x_stride, rows, w, v, c, c_stride, accumulate);
}

/// f32 copy of a bf16 matrix, [depth, columns] in the order of the columns.
HWY_INLINE void widen(const PageMatrix<uint16_t>& w, float* out) {
  for (int64_t k = 0; k < w.depth; ++k) {
    for (int64_t v = 0; v < w.columns / kLanes; v += 2) {
      VecF32 values[2];
      load_vectors(w.data + k * w.columns + v * kLanes, values);
      hn::StoreU(values[0], F32(), out + k * w.columns + column_of(w.data, v));
      hn::StoreU(values[1], F32(), out + k * w.columns + column_of(w.data, v + 1));
    }
  }
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
