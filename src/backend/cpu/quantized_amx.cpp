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
#include <cstring>

#include "tensor/quantized_matrix.h"

#define BAMBA_AMX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,amx-tile,amx-int8")))

namespace bamba::backend::cpu {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kUnits = kQuantPanel / kUnit;
constexpr int64_t kTileBytes = kUnitBytes;  // of a row
/// Inputs whose levels are widened to bytes at a time, for all rows.
constexpr int64_t kBlockInputs = 256;

const QuantizedKernels* narrow_kernels = nullptr;

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// The tiles: 0 to 3 sums of 16 outputs each, 4 activations, 5 and 6 weights in turn.
TileConfig tile_config(int64_t group) {
  TileConfig config;
  for (int i = 0; i < 4; ++i) {
    config.row_bytes[i] = kTileBytes;
    config.rows[i] = kTileRows;
  }
  config.row_bytes[4] = static_cast<uint16_t>(group);
  config.rows[4] = kTileRows;
  for (int i = 5; i < 7; ++i) {
    config.row_bytes[i] = kTileBytes;
    config.rows[i] = static_cast<uint8_t>(group / 4);
  }
  return config;
}

// How far ahead of the weights in use memory is asked for more.
constexpr int64_t kAhead = 8192;

/// A group's codes as signed levels, in q8's order: with both factors signed nothing needs correcting.
BAMBA_AMX_TARGET void widen_group(WeightFormat format, const std::byte* codes, std::byte* widened) {
  if (format == WeightFormat::q8) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
    constexpr int64_t kLoads = kUnits * 64 / 4;
    for (int64_t i = 0; i < kLoads; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(codes + i * kUnitBytes + kAhead), _MM_HINT_T0);
      _mm512_store_si512(widened + i * kUnitBytes, _mm512_xor_si512(_mm512_loadu_si512(codes + i * kUnitBytes), flip));
    }
    return;
  }
  const __m512i levels = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kQ4Levels.data())));
  const __m512i mask = _mm512_set1_epi8(0x0F);
  constexpr int64_t kLoads = kUnits * 32 / 8;
  for (int64_t i = 0; i < kLoads; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(codes + i * kUnitBytes + kAhead), _MM_HINT_T0);
    const __m512i packed = _mm512_loadu_si512(codes + i * kUnitBytes);
    const __m512i low = _mm512_shuffle_epi8(levels, _mm512_and_si512(packed, mask));
    const __m512i high = _mm512_shuffle_epi8(levels, _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask));
    _mm512_store_si512(widened + 2 * i * kUnitBytes, low);
    _mm512_store_si512(widened + (2 * i + 1) * kUnitBytes, high);
  }
}

/// Integer sums of 16 rows with a group's 64 outputs: dots[unit][row][output].
BAMBA_AMX_TARGET void multiply_group(const std::byte* rows, int64_t row_stride, const std::byte* weights,
                                     int64_t unit_stride, int32_t* dots) {
  constexpr int64_t kTile = kTileRows * kUnit;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, rows, row_stride);
  _tile_loadd(5, weights, kTileBytes);
  _tile_dpbssd(0, 4, 5);
  _tile_loadd(6, weights + unit_stride, kTileBytes);
  _tile_dpbssd(1, 4, 6);
  _tile_loadd(5, weights + 2 * unit_stride, kTileBytes);
  _tile_dpbssd(2, 4, 5);
  _tile_loadd(6, weights + 3 * unit_stride, kTileBytes);
  _tile_dpbssd(3, 4, 6);
  _tile_stored(0, dots, kTileBytes);
  _tile_stored(1, dots + kTile, kTileBytes);
  _tile_stored(2, dots + 2 * kTile, kTileBytes);
  _tile_stored(3, dots + 3 * kTile, kTileBytes);
}

/// sums[r, o] += (dot * x_scale) * group_scale, rounded as the other kernels do.
BAMBA_AMX_TARGET void add_group(const int32_t* dots, const int8_t* group_scales, const QuantizedRows& x, int64_t row,
                                int64_t group, float* sums) {
  for (int64_t unit = 0; unit < kUnits; ++unit) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(group_scales + unit * kUnit));
    const __m512 scales = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
    for (int64_t r = 0; r < kTileRows; ++r) {
      const int64_t at = (row + r) * x.groups + group;
      const __m512i dot = _mm512_load_si512(dots + (unit * kTileRows + r) * kUnit);
      const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(x.scales[at]));
      float* sum = sums + r * kQuantPanel + unit * kUnit;
      _mm512_storeu_ps(sum, _mm512_fmadd_ps(value, scales, _mm512_loadu_ps(sum)));
    }
  }
}

BAMBA_AMX_TARGET void amx_rows(WeightFormat format, const std::byte* panel, const QuantizedRows& x, int64_t row0,
                               int64_t rows, float* sums) {
  const int64_t group = group_size(format);
  const int64_t group_bytes = quant_group_bytes(format, group);
  const int64_t unit_stride = group / 4 * kUnitBytes;  // of bytes, widened or not
  const int64_t wide_bytes = kUnits * unit_stride;
  alignas(64) std::byte widened[kBlockInputs * kQuantPanel];
  // Two, so that a group's tiles are multiplied while the sums of the group before are added.
  alignas(64) int32_t dots[2][kUnits * kTileRows * kUnit];
  const TileConfig config = tile_config(group);
  _tile_loadconfig(&config);
  std::memset(sums, 0, static_cast<size_t>(rows * kQuantPanel) * sizeof(float));
  const std::byte* groups = panel + kQuantRowScaleBytes;
  const auto scales = [&](int64_t g) { return reinterpret_cast<const int8_t*>(groups + g * group_bytes); };
  const int64_t block = kBlockInputs / group;
  for (int64_t g0 = 0; g0 < x.groups; g0 += block) {
    const int64_t count = std::min(block, x.groups - g0);
    for (int64_t g = 0; g < count; ++g) {
      widen_group(format, groups + (g0 + g) * group_bytes + kQuantGroupScaleBytes, widened + g * wide_bytes);
    }
    for (int64_t r = 0; r < rows; r += kTileRows) {
      const std::byte* codes = x.codes + (row0 + r) * x.code_stride + g0 * group;
      float* target = sums + r * kQuantPanel;
      for (int64_t g = 0; g < count; ++g) {
        multiply_group(codes + g * group, x.code_stride, widened + g * wide_bytes, unit_stride, dots[g % 2]);
        if (g > 0) add_group(dots[(g - 1) % 2], scales(g0 + g - 1), x, row0 + r, g0 + g - 1, target);
      }
      add_group(dots[(count - 1) % 2], scales(g0 + count - 1), x, row0 + r, g0 + count - 1, target);
    }
  }
  _tile_release();
  const auto* row_scales = reinterpret_cast<const float*>(panel);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < kQuantPanel; o += kUnit) {
      float* sum = sums + r * kQuantPanel + o;
      _mm512_storeu_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(sum), _mm512_loadu_ps(row_scales + o)));
    }
  }
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
