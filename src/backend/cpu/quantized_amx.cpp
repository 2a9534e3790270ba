// A tile of AMX holds 16 rows of 64 bytes. One of activations (16 rows of a group's codes) times one of weights (a
// group's codes of 16 outputs, which lie in memory as the instruction wants them) gives 16 x 16 sums.
// Intel's manual, volume 2: LDTILECFG, TILELOADD, TDPBSSD.
#include "backend/cpu/quantized_amx.h"

#if defined(__x86_64__)

// GCC 12's own header declares its undefined operands in a way that it warns of itself (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <algorithm>

#include "backend/cpu/amx_tiles.h"
#include "tensor/quantized_matrix.h"

#define BAMBA_AMX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,amx-tile,amx-int8")))

namespace bamba::backend::cpu {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kUnits = kQuantPanel / kUnit;
constexpr int64_t kTileBytes = kUnitBytes;  // of a row
/// Inputs whose levels are widened to bytes at a time, for all rows.
constexpr int64_t kBlockInputs = 256;
constexpr int64_t kSmallestGroup = 32;
/// Sums of a tile.
constexpr int64_t kDots = kTileRows * kUnit;

const QuantizedKernels* narrow_kernels = nullptr;

// The tiles: 0 to 3 sums, 4 and 5 activations, 6 and 7 weights, of the groups of inputs in turn.
TileConfig tile_config(int64_t group) {
  TileConfig config;
  config.set(0, 4, kTileRows, kTileBytes);
  config.set(4, 6, kTileRows, group);
  config.set(6, 8, group / 4, kTileBytes);
  return config;
}

/// A group's codes as signed levels, in q8's order: with both factors signed nothing needs correcting.
BAMBA_AMX_TARGET void widen_group(WeightFormat format, const std::byte* codes, std::byte* widened) {
  if (format == WeightFormat::q8) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    constexpr int64_t kLoads = kUnits * 64 / 4;
    for (int64_t i = 0; i < kLoads; ++i) {
      _mm512_store_si512(widened + i * kUnitBytes, _mm512_xor_si512(_mm512_loadu_si512(codes + i * kUnitBytes), flip));
    }
    return;
  }
  const __m512i levels = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kQ4Levels.data())));
  const __m512i mask = _mm512_set1_epi8(0x0F);
  constexpr int64_t kLoads = kUnits * 32 / 8;
  for (int64_t i = 0; i < kLoads; ++i) {
    const __m512i packed = _mm512_loadu_si512(codes + i * kUnitBytes);
    const __m512i low = _mm512_shuffle_epi8(levels, _mm512_and_si512(packed, mask));
    const __m512i high = _mm512_shuffle_epi8(levels, _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask));
    _mm512_store_si512(widened + 2 * i * kUnitBytes, low);
    _mm512_store_si512(widened + (2 * i + 1) * kUnitBytes, high);
  }
}

/// Integer sums of 16 rows with 16 outputs, for each of a block's groups (four, or eight of them):
/// dots[group][row][output].
BAMBA_AMX_TARGET void multiply_unit(const std::byte* codes, int64_t row_stride, int64_t group, const std::byte* weights,
                                    int64_t weights_stride, int64_t groups, int32_t* dots) {
  int64_t g = 0;
  const auto* x = codes;
  const auto* w = weights;
  for (; g + 4 <= groups; g += 4, x += 4 * group, w += 4 * weights_stride) {
    int32_t* sums = dots + g * kDots;
    _tile_zero(0);
    _tile_loadd(4, x, row_stride);
    _tile_loadd(6, w, kTileBytes);
    _tile_dpbssd(0, 4, 6);
    _tile_zero(1);
    _tile_loadd(5, x + group, row_stride);
    _tile_loadd(7, w + weights_stride, kTileBytes);
    _tile_dpbssd(1, 5, 7);
    _tile_zero(2);
    _tile_loadd(4, x + 2 * group, row_stride);
    _tile_loadd(6, w + 2 * weights_stride, kTileBytes);
    _tile_dpbssd(2, 4, 6);
    _tile_zero(3);
    _tile_loadd(5, x + 3 * group, row_stride);
    _tile_loadd(7, w + 3 * weights_stride, kTileBytes);
    _tile_dpbssd(3, 5, 7);
    _tile_stored(0, sums, kTileBytes);
    _tile_stored(1, sums + kDots, kTileBytes);
    _tile_stored(2, sums + 2 * kDots, kTileBytes);
    _tile_stored(3, sums + 3 * kDots, kTileBytes);
  }
  for (; g < groups; ++g, x += group, w += weights_stride) {
    _tile_zero(0);
    _tile_loadd(4, x, row_stride);
    _tile_loadd(6, w, kTileBytes);
    _tile_dpbssd(0, 4, 6);
    _tile_stored(0, dots + g * kDots, kTileBytes);
  }
}

/// What adding up a block's groups needs besides their integer sums.
struct BlockScales {
  const int8_t* weights;    ///< of the first group and output
  int64_t weights_stride;   ///< bytes from group to group
  const float* rows;        ///< of the first row and group
  int64_t rows_stride;      ///< floats from row to row
  const float* row_scales;  ///< of the outputs, after the last group of all; null before
};

/// Memory that will be wanted soon: asked for a few lines at a time between arithmetic, since there are only so many
/// buffers for lines under way, and a burst of requests would wait for them. Into the L2: in the L1 they would push out
/// what is being multiplied.
struct Ahead {
  const std::byte* at;
  int64_t bytes_of_group;  ///< whole lines
};

/// sums[r, o] += (dot * x_scale) * group_scale for 16 rows and outputs, group after group and rounded as the other
/// kernels do. The 16 sums stay in registers meanwhile.
BAMBA_AMX_TARGET void add_unit(const int32_t* dots, int64_t groups, const BlockScales& scales, const Ahead& ahead,
                               bool first, float* sums) {
  __m512 total[kTileRows];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileRows; ++r) {
    total[r] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * kQuantPanel);
  }
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < ahead.bytes_of_group; i += kUnitBytes) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead.at + g * ahead.bytes_of_group + i), _MM_HINT_T1);
    }
    const auto* bytes = reinterpret_cast<const __m128i*>(scales.weights + g * scales.weights_stride);
    const __m512 of_group = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)));
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTileRows; ++r) {
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots + g * kDots + r * kUnit));
      const __m512 value = _mm512_mul_ps(dot, _mm512_set1_ps(scales.rows[r * scales.rows_stride + g]));
      total[r] = _mm512_fmadd_ps(value, of_group, total[r]);
    }
  }
  if (scales.row_scales != nullptr) {
    const __m512 last = _mm512_loadu_ps(scales.row_scales);
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTileRows; ++r) total[r] = _mm512_mul_ps(total[r], last);
  }
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileRows; ++r) _mm512_storeu_ps(sums + r * kQuantPanel, total[r]);
}

BAMBA_AMX_TARGET void amx_rows(WeightFormat format, const std::byte* panel, const QuantizedRows& x, int64_t row0,
                               int64_t rows, float* sums) {
  const int64_t group = group_size(format);
  const int64_t group_bytes = quant_group_bytes(format, group);
  const int64_t unit_bytes = group / 4 * kUnitBytes;  // widened
  const int64_t wide_bytes = kUnits * unit_bytes;
  const int64_t block = kBlockInputs / group;
  alignas(64) std::byte widened[kBlockInputs * kQuantPanel];
  // Two, so that a unit's tiles are multiplied while the sums of the unit before are added.
  alignas(64) int32_t dots[2][kBlockInputs / kSmallestGroup * kDots];
  tile_config(group).load();
  const std::byte* groups = panel + kQuantRowScaleBytes;
  for (int64_t g0 = 0; g0 < x.groups; g0 += block) {
    const int64_t count = std::min(block, x.groups - g0);
    const bool last = g0 + count == x.groups;
    for (int64_t g = 0; g < count; ++g) {
      widen_group(format, groups + (g0 + g) * group_bytes + kQuantGroupScaleBytes, widened + g * wide_bytes);
    }
    const int64_t steps = rows / kTileRows * kUnits;  // units of rows after rows
    // The next block comes from memory while this one is multiplied.
    const std::byte* next = groups + (g0 + count) * group_bytes;
    const int64_t of_group = (group_bytes / steps + kUnitBytes) / kUnitBytes * kUnitBytes;
    const auto multiply = [&](int64_t step) {
      const int64_t row = row0 + step / kUnits * kTileRows;
      multiply_unit(x.codes + row * x.code_stride + g0 * group, x.code_stride, group,
                    widened + step % kUnits * unit_bytes, wide_bytes, count, dots[step % 2]);
    };
    const auto add = [&](int64_t step) {
      const int64_t row = step / kUnits * kTileRows;
      const int64_t output = step % kUnits * kUnit;
      const BlockScales scales{reinterpret_cast<const int8_t*>(groups + g0 * group_bytes) + output, group_bytes,
                               x.scales + (row0 + row) * x.groups + g0, x.groups,
                               last ? reinterpret_cast<const float*>(panel) + output : nullptr};
      const Ahead ahead{next + step * count * of_group, of_group};
      add_unit(dots[step % 2], count, scales, ahead, g0 == 0, sums + row * kQuantPanel + output);
    };
    multiply(0);
    for (int64_t step = 0; step < steps; ++step) {
      if (step + 1 < steps) multiply(step + 1);
      add(step);
    }
  }
  _tile_release();
}

void amx_panel(WeightFormat format, const std::byte* panel, const QuantizedRows& x, int64_t row0, int64_t rows,
               float* sums) {
  const int64_t whole = rows / kTileRows * kTileRows;
  if (whole > 0) amx_rows(format, panel, x, row0, whole, sums);
  if (whole < rows) narrow_kernels->panel(format, panel, x, row0 + whole, rows - whole, sums + whole * kQuantPanel);
}

}  // namespace

const QuantizedKernels* amx_kernels(const QuantizedKernels& narrow) {
  static const QuantizedKernels kernels = [&] {
    narrow_kernels = &narrow;
    QuantizedKernels out = narrow;
    out.name = "AMX";
    out.panel = amx_panel;
    out.row_block = 256;
    return out;
  }();
  return &kernels;
}

}  // namespace bamba::backend::cpu

#else

namespace bamba::backend::cpu {
const QuantizedKernels* amx_kernels(const QuantizedKernels&) {
  return nullptr;
}
}  // namespace bamba::backend::cpu

#endif
