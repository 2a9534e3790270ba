// Intel's manual, volume 2: TDPBF16PS, VDPBF16PS.
#include "backend/cpu/bf16_rows.h"

#include <atomic>

#include "backend/cpu/cpu_features.h"

#if defined(__x86_64__)

// GCC 12's own header declares its undefined operands in a way that it warns of itself (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "backend/cpu/amx_tiles.h"
#include "backend/cpu/linear.h"

#define BAMBA_AVX512 "avx512f,avx512bw,avx512vl,avx512dq,fma"
#define BAMBA_BF16_TARGET __attribute__((target(BAMBA_AVX512 ",avx512bf16")))
#define BAMBA_AMX_TARGET __attribute__((target(BAMBA_AVX512 ",amx-tile,amx-bf16")))
#define BAMBA_AVX512_TARGET __attribute__((target(BAMBA_AVX512)))

namespace bamba::backend::cpu {
namespace {

// A block of a panel with its inputs paired, [inputs / 2][4][16 outputs][2]: 32 KiB, which stay in L1 for all rows.
constexpr int64_t kBlockInputs = 256;
constexpr int64_t kVector = 16;  // outputs of a register or a tile
constexpr int64_t kVectors = kPanel / kVector;
constexpr int64_t kPairElements = 2 * kPanel;
// How far ahead of the weights in use memory is asked for more, in elements.
constexpr int64_t kAhead = 4096;

/// Inputs [k, k + count) of a panel in pairs, count <= kBlockInputs; zeros for what is missing to a whole kBf16Unit.
/// Outputs end up in the order that interleaving leaves: see restore_order.
BAMBA_AVX512_TARGET void pair_inputs(const uint16_t* panel, int64_t count, uint16_t* pairs) {
  for (int64_t k = 0; k < count; k += 2) {
    const uint16_t* row = panel + k * kPanel;
    _mm_prefetch(reinterpret_cast<const char*>(row + kAhead), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(row + kAhead + kPanel / 2), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(row + kAhead + kPanel), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(row + kAhead + kPanel * 3 / 2), _MM_HINT_T0);
    for (int64_t half = 0; half < 2; ++half) {
      const __m512i even = _mm512_loadu_si512(row + half * 32);
      const __m512i odd = k + 1 < count ? _mm512_loadu_si512(row + kPanel + half * 32) : _mm512_setzero_si512();
      uint16_t* target = pairs + k / 2 * kPairElements + half * 64;
      _mm512_store_si512(target, _mm512_unpacklo_epi16(even, odd));
      _mm512_store_si512(target + 32, _mm512_unpackhi_epi16(even, odd));
    }
  }
  const int64_t used = (count + 1) / 2;
  const int64_t whole = (count + kBf16Unit - 1) / kBf16Unit * (kBf16Unit / 2);
  std::memset(pairs + used * kPairElements, 0, static_cast<size_t>((whole - used) * kPairElements) * sizeof(uint16_t));
}

/// Interleaving works inside quarters of a register: of 32 outputs the first result holds 0-3, 8-11, 16-19, 24-27, the
/// second the others. Puts rows of sums back in order.
BAMBA_AVX512_TARGET void restore_order(float* sums, int64_t rows) {
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  for (int64_t i = 0; i < rows * kPanel; i += 2 * kVector) {
    const __m512 first = _mm512_load_ps(sums + i);
    const __m512 second = _mm512_load_ps(sums + i + kVector);
    _mm512_store_ps(sums + i, _mm512_permutex2var_ps(first, low, second));
    _mm512_store_ps(sums + i + kVector, _mm512_permutex2var_ps(first, high, second));
  }
}

// --- AVX512-BF16 --------------------------------------------------------------------------------------------------

/// In assembly: GCC 12 copies the sums of the intrinsic to and fro.
BAMBA_BF16_TARGET inline __attribute__((always_inline)) __m512 add_pairs(__m512 sum, __m512i weights, __m512i x) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
  return sum;
}

constexpr int kTileRows = 6;

template <int kRows>
BAMBA_BF16_TARGET void tile(const uint16_t* x, int64_t x_stride, const uint16_t* pairs, int64_t count, float* sums,
                            bool accumulate) {
  __m512 total[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      total[r][v] = accumulate ? _mm512_load_ps(sums + r * kPanel + v * kVector) : _mm512_setzero_ps();
    }
  }
  for (int64_t pair = 0; pair < count; ++pair) {
    __m512i weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = _mm512_load_si512(pairs + pair * kPairElements + 2 * kVector * v);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      int32_t two;
      std::memcpy(&two, x + r * x_stride + 2 * pair, sizeof(two));
      const __m512i value = _mm512_set1_epi32(two);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[r][v] = add_pairs(total[r][v], weights[v], value);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(sums + r * kPanel + v * kVector, total[r][v]);
  }
}

template <int kRows>
BAMBA_BF16_TARGET void last_tile(const uint16_t* x, int64_t x_stride, int64_t rows, const uint16_t* pairs,
                                 int64_t count, float* sums, bool accumulate) {
  if (rows == kRows) {
    tile<kRows>(x, x_stride, pairs, count, sums, accumulate);
  } else if constexpr (kRows > 1) {
    last_tile<kRows - 1>(x, x_stride, rows, pairs, count, sums, accumulate);
  }
}

BAMBA_BF16_TARGET void avx512_panel(const uint16_t* panel, int64_t depth, const Bf16Rows& x, int64_t row0, int64_t rows,
                                    float* sums) {
  alignas(64) uint16_t pairs[kBlockInputs * kPanel];
  for (int64_t k = 0; k < depth; k += kBlockInputs) {
    const int64_t inputs = std::min(kBlockInputs, depth - k);
    pair_inputs(panel + k * kPanel, inputs, pairs);
    const int64_t count = (inputs + 1) / 2;
    int64_t r = 0;
    for (; r + kTileRows <= rows; r += kTileRows) {
      tile<kTileRows>(x.data + (row0 + r) * x.stride + k, x.stride, pairs, count, sums + r * kPanel, k > 0);
    }
    last_tile<kTileRows - 1>(x.data + (row0 + r) * x.stride + k, x.stride, rows - r, pairs, count, sums + r * kPanel,
                             k > 0);
  }
  restore_order(sums, rows);
}

// --- AMX ----------------------------------------------------------------------------------------------------------

constexpr int64_t kAmxRows = 16;
constexpr int64_t kAmxTileBytes = 64;  // of a row

/// The tiles: 0 to 3 sums of 16 outputs each, 4 activations, 5 and 6 weights in turn.
TileConfig tile_config(int64_t rows) {
  TileConfig config;
  config.set(0, 5, rows, kAmxTileBytes);
  config.set(5, 7, kBf16Unit / 2, kAmxTileBytes);
  return config;
}

/// The configured number of rows with a block of `units` times 32 inputs; sums are those of the blocks before.
BAMBA_AMX_TARGET void amx_block(const uint16_t* x, int64_t x_stride, const uint16_t* pairs, int64_t units, float* sums,
                                bool accumulate) {
  constexpr int64_t kRowBytes = kPanel * static_cast<int64_t>(sizeof(float));
  constexpr int64_t kPairBytes = kPairElements * static_cast<int64_t>(sizeof(uint16_t));
  if (accumulate) {
    _tile_loadd(0, sums, kRowBytes);
    _tile_loadd(1, sums + kVector, kRowBytes);
    _tile_loadd(2, sums + 2 * kVector, kRowBytes);
    _tile_loadd(3, sums + 3 * kVector, kRowBytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const int64_t x_bytes = x_stride * static_cast<int64_t>(sizeof(uint16_t));
  for (int64_t u = 0; u < units; ++u) {
    const uint16_t* weights = pairs + u * (kBf16Unit / 2) * kPairElements;
    _tile_loadd(4, x + u * kBf16Unit, x_bytes);
    _tile_loadd(5, weights, kPairBytes);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, weights + 2 * kVector, kPairBytes);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(5, weights + 4 * kVector, kPairBytes);
    _tile_dpbf16ps(2, 4, 5);
    _tile_loadd(6, weights + 6 * kVector, kPairBytes);
    _tile_dpbf16ps(3, 4, 6);
  }
  _tile_stored(0, sums, kRowBytes);
  _tile_stored(1, sums + kVector, kRowBytes);
  _tile_stored(2, sums + 2 * kVector, kRowBytes);
  _tile_stored(3, sums + 3 * kVector, kRowBytes);
}

BAMBA_AMX_TARGET void amx_panel(const uint16_t* panel, int64_t depth, const Bf16Rows& x, int64_t row0, int64_t rows,
                                float* sums) {
  alignas(64) uint16_t pairs[kBlockInputs * kPanel];
  const int64_t whole = rows / kAmxRows * kAmxRows;
  const TileConfig full = tile_config(kAmxRows);
  const TileConfig last = tile_config(rows - whole);
  const bool both = whole > 0 && whole < rows;  // changing between them costs some tens of cycles
  if (!both) (whole > 0 ? full : last).load();
  for (int64_t k = 0; k < depth; k += kBlockInputs) {
    const int64_t inputs = std::min(kBlockInputs, depth - k);
    pair_inputs(panel + k * kPanel, inputs, pairs);
    const int64_t units = (inputs + kBf16Unit - 1) / kBf16Unit;
    const uint16_t* from = x.data + row0 * x.stride + k;
    if (both) full.load();
    // The next block comes from memory while this one is multiplied.
    const auto* next = reinterpret_cast<const char*>(panel + (k + inputs) * kPanel);
    const int64_t part = whole > 0 ? kBlockInputs * kPanel * 2 / (whole / kAmxRows) : 0;
    for (int64_t r = 0; r < whole; r += kAmxRows) {
      for (int64_t i = 0; i < part; i += kAmxTileBytes) {
        _mm_prefetch(next + r / kAmxRows * part + i, _MM_HINT_T1);
      }
      amx_block(from + r * x.stride, x.stride, pairs, units, sums + r * kPanel, k > 0);
    }
    if (whole == rows) continue;
    if (both) last.load();
    amx_block(from + whole * x.stride, x.stride, pairs, units, sums + whole * kPanel, k > 0);
  }
  _tile_release();
  restore_order(sums, rows);
}

constexpr Bf16Kernels kAvx512Kernels{"AVX512-BF16", avx512_panel};
constexpr Bf16Kernels kAmxKernels{"AMX", amx_panel};
std::atomic<Bf16Limit> limit{Bf16Limit::any};

}  // namespace

const Bf16Kernels* bf16_kernels() {
  const Bf16Limit most = limit;
  if (most == Bf16Limit::any && cpu_features().amx_bf16) return &kAmxKernels;
  return most != Bf16Limit::none && cpu_features().avx512_bf16 ? &kAvx512Kernels : nullptr;
}

void limit_bf16(Bf16Limit most) {
  limit = most;
}

}  // namespace bamba::backend::cpu

#else

namespace bamba::backend::cpu {
const Bf16Kernels* bf16_kernels() {
  return nullptr;
}
void limit_bf16(Bf16Limit) {}
}  // namespace bamba::backend::cpu

#endif
