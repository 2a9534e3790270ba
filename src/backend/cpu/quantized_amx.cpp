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

#include <cstring>

#include "backend/cpu/amx_tiles.h"
#include "tensor/quantized_matrix.h"

#define BAMBA_AMX_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,fma,amx-tile,amx-int8")))
#define BAMBA_AMX_INLINE BAMBA_AMX_TARGET inline __attribute__((always_inline))

namespace bamba::backend::cpu {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kUnits = kQuantPanel / kUnit;
constexpr int64_t kTileBytes = kUnitBytes;  // of a row
/// Sums of a tile.
constexpr int64_t kDots = kTileRows * kUnit;
/// Groups of inputs of a step. Two threads of a core share its L1, and what both work on has to stay there.
constexpr int64_t kGroups = 4;
/// Groups between a product of tiles and the adding of its sums, which would else wait for them.
constexpr int64_t kLead = 2;
/// How far ahead of the weights in use memory is asked for more.
constexpr int64_t kAhead = 8192;

const QuantizedKernels* narrow_kernels = nullptr;

// The tiles: 0 sums, 1 activations, 2 weights. The processor renames them, so each product may use the same ones; with
// four tiles of sums in turn products took half as long again.
TileConfig tile_config(int64_t group) {
  TileConfig config;
  config.set(0, 1, kTileRows, kTileBytes);
  config.set(1, 2, kTileRows, group);
  config.set(2, 3, group / 4, kTileBytes);
  return config;
}

template <WeightFormat kFormat>
struct Layout {
  static constexpr int64_t kGroup = kFormat == WeightFormat::q4 ? 32 : 64;
  static constexpr int64_t kGroupBytes = quant_group_bytes(kFormat, kGroup);
  static constexpr int64_t kWideBytes = kUnit * kGroup;  ///< a group's codes for a unit, as bytes
  static constexpr int64_t kCodeBytes = kFormat == WeightFormat::q4 ? kWideBytes / 2 : kWideBytes;
};

/// A group's codes for a unit as signed levels, in q8's order: with both factors signed nothing needs correcting.
/// Asks for later ones too, into the L2: in the L1 they would push out what is in use. A few lines between arithmetic,
/// since there are only so many buffers for lines under way, and a burst of requests would wait for them.
template <WeightFormat kFormat>
BAMBA_AMX_INLINE void widen(const std::byte* codes, std::byte* widened) {
  // q4: four times the sixteen levels, since vpermb looks up with six bits, the upper two of which belong to another
  // code here.
  const __m512i levels = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kQ4Levels.data())));
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 16
  for (int64_t i = 0; i < Layout<kFormat>::kCodeBytes; i += kUnitBytes) {
    _mm_prefetch(reinterpret_cast<const char*>(codes + i + kAhead), _MM_HINT_T1);
    const __m512i packed = _mm512_loadu_si512(codes + i);
    if constexpr (kFormat == WeightFormat::q8) {
      _mm512_store_si512(widened + i, _mm512_xor_si512(packed, flip));
    } else {
      _mm512_store_si512(widened + 2 * i, _mm512_permutexvar_epi8(packed, levels));
      _mm512_store_si512(widened + 2 * i + kUnitBytes, _mm512_permutexvar_epi8(_mm512_srli_epi16(packed, 4), levels));
    }
  }
}

/// Integer sums of 16 rows with a unit's outputs for one group, left in a tile.
BAMBA_AMX_INLINE void multiply(const std::byte* codes, int64_t code_stride, const std::byte* weights) {
  _tile_zero(0);
  _tile_loadd(1, codes, code_stride);
  _tile_loadd(2, weights, kTileBytes);
  _tile_dpbssd(0, 1, 2);
}

/// total[r] += (dot * x_scale) * group_scale, rounded as the other kernels do.
BAMBA_AMX_INLINE void add(const int32_t* dots, const std::byte* group_scales, const float* x_scales, __m512* total) {
  const auto* bytes = reinterpret_cast<const __m128i*>(group_scales);
  const __m512 of_group = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes)));
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileRows; ++r) {
    const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots + r * kUnit));
    const __m512 value = _mm512_mul_ps(dot, _mm512_set1_ps(x_scales[r * kGroups]));
    total[r] = _mm512_fmadd_ps(value, of_group, total[r]);
  }
}

/// 16 rows, the 16 outputs of a unit, kGroups groups of inputs.
struct Step {
  int64_t first_group = 0;
  int64_t row = 0;
  int64_t unit = 0;
};

/// A panel for some rows, step by step: the weights of a step are widened (once for all rows), each of its groups is
/// multiplied, and the sums of each group are added up. These keep different parts of the processor busy, so they are
/// done side by side, each for another group: the processor looks ahead only so many instructions.
/// kOnce: there are 16 rows, so that widened weights are used once, and all steps widen into the same place.
template <WeightFormat kFormat, bool kOnce>
class AmxPanel {
 public:
  AmxPanel(const std::byte* panel, const QuantizedRows& x, int64_t row0, int64_t rows, float* sums)
      : panel_(panel), x_(x), row0_(row0), rows_(rows), sums_(sums) {}

  BAMBA_AMX_TARGET void run() {
    const int64_t whole = x_.groups / kGroups * kGroups;
    Step step;
    if (whole > 0) {
      widen_step(step, kGroups);
      for (int64_t g = 0; g < kLead; ++g) multiply_group(step, g, dots_ + g * kDots);
    }
    while (step.first_group < whole) {
      const Step after = next(step);
      if (after.first_group == whole) {
        // With nothing behind it the step's own first groups are multiplied again, for nobody.
        side_by_side<false>(step, step);
      } else if (after.row == 0) {
        side_by_side<true>(step, after);
      } else {
        side_by_side<false>(step, after);
      }
      step = after;
    }
    for (; step.first_group < x_.groups; step = next(step)) last_groups(step, x_.groups - whole);
  }

 private:
  using L = Layout<kFormat>;

  Step next(Step step) const {
    if (++step.unit < kUnits) return step;
    step.unit = 0;
    step.row += kTileRows;
    if (step.row < rows_) return step;
    return {step.first_group + kGroups, 0, 0};
  }

  const std::byte* first_group(const Step& step) const {
    return panel_ + kQuantRowScaleBytes + step.first_group * L::kGroupBytes;
  }
  const std::byte* group_scales(const Step& step) const { return first_group(step) + step.unit * kUnit; }
  const std::byte* packed(const Step& step) const {
    return first_group(step) + kQuantGroupScaleBytes + step.unit * L::kCodeBytes;
  }
  std::byte* widened(const Step& step) { return widened_ + (kOnce ? 0 : step.unit) * kGroups * L::kWideBytes; }
  const std::byte* codes(const Step& step) const {
    return x_.codes + (row0_ + step.row) * x_.code_stride + step.first_group * L::kGroup;
  }
  float* sums(const Step& step) const { return sums_ + step.row * kQuantPanel + step.unit * kUnit; }

  BAMBA_AMX_TARGET void widen_step(const Step& step, int64_t groups) {
    for (int64_t g = 0; g < groups; ++g) {
      widen<kFormat>(packed(step) + g * L::kGroupBytes, widened(step) + g * L::kWideBytes);
    }
    // GCC's intrinsic for loading a tile does not say that it reads memory.
    asm volatile("" : : : "memory");
  }
  BAMBA_AMX_TARGET void multiply_group(const Step& step, int64_t g, int32_t* dots) {
    multiply(codes(step) + g * L::kGroup, x_.code_stride, widened(step) + g * L::kWideBytes);
    _tile_stored(0, dots, kTileBytes);
  }

  BAMBA_AMX_INLINE void load_sums(const Step& step, __m512* total) const {
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTileRows; ++r) {
      total[r] = step.first_group == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(sums(step) + r * kQuantPanel);
    }
  }
  BAMBA_AMX_INLINE void store_sums(const Step& step, __m512* total) const {
    if (step.first_group + kGroups >= x_.groups) {
      const __m512 row_scales = _mm512_loadu_ps(reinterpret_cast<const float*>(panel_) + step.unit * kUnit);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kTileRows; ++r) total[r] = _mm512_mul_ps(total[r], row_scales);
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTileRows; ++r) _mm512_storeu_ps(sums(step) + r * kQuantPanel, total[r]);
  }
  /// The scales of a step's activations, close together: the distances between them become constants.
  BAMBA_AMX_INLINE void gather_scales(const Step& step, int64_t groups) {
    const float* from = x_.scales + (row0_ + step.row) * x_.groups + step.first_group;
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTileRows; ++r) {
      std::memcpy(x_scales_ + r * kGroups, from + r * x_.groups, static_cast<size_t>(groups) * sizeof(float));
    }
  }

  /// Adds up a step's groups, of which the first kLead have been multiplied, while the others are and then as many of
  /// the step after it, whose weights are widened meanwhile.
  template <bool kWiden>
  BAMBA_AMX_TARGET __attribute__((noinline)) void side_by_side(const Step& step, const Step& after) {
    if (step.unit == 0) gather_scales(step, kGroups);
    const std::byte* scales = group_scales(step);
    const std::byte* x = codes(step);
    const std::byte* weights = widened(step);
    const std::byte* x_after = codes(after);
    const std::byte* packed_after = packed(after);
    std::byte* weights_after = widened(after);
    const int64_t x_stride = x_.code_stride;
    __m512 total[kTileRows];
    load_sums(step, total);
#pragma GCC unroll 4
    for (int64_t g = 0; g < kGroups; ++g) {
      const int64_t of_after = g + kLead - kGroups;
      if (of_after < 0) {
        multiply(x + (g + kLead) * L::kGroup, x_stride, weights + (g + kLead) * L::kWideBytes);
      } else {
        multiply(x_after + of_after * L::kGroup, x_stride, weights_after + of_after * L::kWideBytes);
      }
      if constexpr (kWiden) widen<kFormat>(packed_after + g * L::kGroupBytes, weights_after + g * L::kWideBytes);
      add(dots_ + g * kDots, scales + g * L::kGroupBytes, x_scales_ + g, total);
      _tile_stored(0, dots_ + (g + kLead) % kGroups * kDots, kTileBytes);
    }
    store_sums(step, total);
  }

  /// Fewer groups than a step has: one after the other.
  BAMBA_AMX_TARGET __attribute__((noinline)) void last_groups(const Step& step, int64_t groups) {
    if (step.row == 0) widen_step(step, groups);
    gather_scales(step, groups);
    __m512 total[kTileRows];
    load_sums(step, total);
    for (int64_t g = 0; g < groups; ++g) {
      multiply_group(step, g, dots_);
      add(dots_, group_scales(step) + g * L::kGroupBytes, x_scales_ + g, total);
    }
    store_sums(step, total);
  }

  const std::byte* panel_;
  const QuantizedRows& x_;
  int64_t row0_;
  int64_t rows_;
  float* sums_;
  alignas(64) std::byte widened_[(kOnce ? 1 : kUnits) * kGroups * L::kWideBytes];
  alignas(64) float x_scales_[kTileRows * kGroups];
  alignas(64) int32_t dots_[kGroups * kDots];  ///< sums of a step's groups, or of the one after it where they are done
};

template <WeightFormat kFormat>
BAMBA_AMX_TARGET void run_panel(const std::byte* panel, const QuantizedRows& x, int64_t row0, int64_t rows,
                                float* sums) {
  tile_config(Layout<kFormat>::kGroup).load();
  if (rows == kTileRows) {
    AmxPanel<kFormat, true>(panel, x, row0, rows, sums).run();
  } else {
    AmxPanel<kFormat, false>(panel, x, row0, rows, sums).run();
  }
  _tile_release();
}

void amx_panel(WeightFormat format, const std::byte* panel, const QuantizedRows& x, int64_t row0, int64_t rows,
               float* sums) {
  const int64_t whole = rows / kTileRows * kTileRows;
  if (whole > 0 && format == WeightFormat::q4) run_panel<WeightFormat::q4>(panel, x, row0, whole, sums);
  if (whole > 0 && format == WeightFormat::q8) run_panel<WeightFormat::q8>(panel, x, row0, whole, sums);
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
