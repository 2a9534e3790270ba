// The kernels of quantized.h over the primitive of dot-inl.h. No include guard: see there.

// How far ahead of the weights in use memory is asked for more: the processor's own prefetching is too late where there
// is arithmetic for several rows between two loads. May reach past the end of the weights; asking is harmless.
#ifndef BAMBA_AHEAD
#define BAMBA_AHEAD 16384
#endif
constexpr int64_t kAhead = BAMBA_AHEAD;

/// q8 as it is stored, and q4 once widened to bytes: 4 inputs a load.
template <int64_t kGroupSize, bool kFromMemory>
struct ByteSource {
  static constexpr int kSteps = 1;
  static constexpr int kLoads = kGroupSize / 4;
  const std::byte* scales;  // of the first group
  int64_t scale_stride;
  const std::byte* codes;
  int64_t code_stride;

  HWY_INLINE const std::byte* at(int64_t group, int64_t unit) const {
    return codes + group * code_stride + unit * kLoads * cpu::kUnitBytes;
  }
  HWY_INLINE void load(const std::byte* p, int i, Dot::Weights* w) const {
    if constexpr (kFromMemory) hwy::Prefetch(p + i * cpu::kUnitBytes + kAhead);
    w[0] = Dot::prepare(hn::LoadU(U8(), reinterpret_cast<const uint8_t*>(p + i * cpu::kUnitBytes)));
  }
};

/// q4 as it is stored: 8 inputs a load.
struct NibbleSource {
  static constexpr int kSteps = 2;
  static constexpr int kLoads = 4;
  const std::byte* scales;
  int64_t scale_stride;
  const std::byte* codes;
  int64_t code_stride;
  VecU8 levels;

  HWY_INLINE const std::byte* at(int64_t group, int64_t unit) const {
    return codes + group * code_stride + unit * kLoads * cpu::kUnitBytes;
  }
  HWY_INLINE void load(const std::byte* p, int i, Dot::Weights* w) const {
    hwy::Prefetch(p + i * cpu::kUnitBytes + kAhead);
    VecU8 low;
    VecU8 high;
    split_nibbles(hn::LoadU(U8(), reinterpret_cast<const uint8_t*>(p + i * cpu::kUnitBytes)), levels, low, high);
    w[0] = Dot::prepare(low);
    w[1] = Dot::prepare(high);
  }
};

/// sums[r, o] += the products of `groups` groups, for kRows rows and kVectors vectors of outputs from `vector` on.
template <int kRows, int kVectors, class Source>
HWY_INLINE void quantized_tile(const Source& source, int64_t first_group, int64_t groups, int64_t vector,
                               const cpu::QuantizedRows& x, int64_t row, float* HWY_RESTRICT sums) {
  const F32 df;
  const I32 di;
  constexpr int64_t kLoadBytes = Source::kSteps * 4 * Dot::kCodeBytes;  // of activations
  const std::byte* codes[kRows];
  BAMBA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    codes[r] = x.codes + (row + r) * x.code_stride + first_group * (Source::kLoads * kLoadBytes);
  }
  for (int64_t g = 0; g < groups; ++g) {
    const std::byte* weights[kVectors];
    BAMBA_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = source.at(g, (vector + v) / kVectorsPerGroup) + (vector + v) % kVectorsPerGroup * kLanes * 4;
    }
    VecI32 dots[kRows][kVectors];
    BAMBA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const auto start = hn::Set(di, x.corrections[(row + r) * x.groups + first_group + g]);
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) dots[r][v] = start;
    }
    // Unrolled as well: sums that live through a loop GCC copies at each turn.
    BAMBA_UNROLL
    for (int i = 0; i < Source::kLoads; ++i) {
      Dot::Weights w[kVectors][Source::kSteps];
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) source.load(weights[v], i, w[v]);
      BAMBA_UNROLL
      for (int r = 0; r < kRows; ++r) {
        BAMBA_UNROLL
        for (int s = 0; s < Source::kSteps; ++s) {
          const auto four = Dot::broadcast(codes[r] + i * kLoadBytes + s * 4 * Dot::kCodeBytes);
          BAMBA_UNROLL
          for (int v = 0; v < kVectors; ++v) dots[r][v] = Dot::add(dots[r][v], w[v][s], four);
        }
      }
    }
    VecF32 scales[kVectors];
    BAMBA_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const auto bytes =
          hn::LoadU(hn::Rebind<int8_t, I32>(),
                    reinterpret_cast<const int8_t*>(source.scales + g * source.scale_stride) + (vector + v) * kLanes);
      scales[v] = hn::ConvertTo(df, hn::PromoteTo(di, bytes));
    }
    BAMBA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const auto x_scale = hn::Set(df, x.scales[(row + r) * x.groups + first_group + g]);
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        float* sum = sums + r * cpu::kQuantPanel + (vector + v) * kLanes;
        const auto value = hn::Mul(hn::ConvertTo(df, dots[r][v]), x_scale);
        hn::StoreU(hn::MulAdd(value, scales[v], hn::LoadU(df, sum)), df, sum);
      }
      codes[r] += Source::kLoads * kLoadBytes;
    }
  }
}

template <int kRows, int kVectors, class Source>
HWY_INLINE void quantized_columns(const Source& source, int64_t first_group, int64_t groups,
                                  const cpu::QuantizedRows& x, int64_t row, float* sums) {
  for (int64_t vector = 0; vector < cpu::kQuantPanel / kLanes; vector += kVectors) {
    quantized_tile<kRows, kVectors>(source, first_group, groups, vector, x, row, sums);
  }
}

/// A last tile of fewer than kRows + 1 rows.
template <int kRows, int kVectors, class Source>
HWY_INLINE void quantized_tail(const Source& source, int64_t first_group, int64_t groups, const cpu::QuantizedRows& x,
                               int64_t row, int64_t rows, float* sums) {
  if (rows == kRows) {
    quantized_columns<kRows, kVectors>(source, first_group, groups, x, row, sums);
  } else if constexpr (kRows > 1) {
    quantized_tail<kRows - 1, kVectors>(source, first_group, groups, x, row, rows, sums);
  }
}

/// All rows, kRows at a time.
template <int kRows, int kVectors, class Source>
HWY_INLINE void quantized_rows(const Source& source, int64_t first_group, int64_t groups, const cpu::QuantizedRows& x,
                               int64_t row0, int64_t rows, float* sums) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    quantized_columns<kRows, kVectors>(source, first_group, groups, x, row0 + r, sums + r * cpu::kQuantPanel);
  }
  if constexpr (kRows > 1) {
    quantized_tail<kRows - 1, kVectors>(source, first_group, groups, x, row0 + r, rows - r,
                                        sums + r * cpu::kQuantPanel);
  }
}

// Tiles that fill the registers: with 32 of them 6 x 4 sums, with 16 of them 4 x 2. Nibbles take more registers for the
// weights, so they get fewer sums.
constexpr int kByteRows = kLanes == 16 ? 6 : 4;
constexpr int kByteVectors = kLanes == 16 ? 4 : 2;
constexpr int kNibbleRows = 4;
constexpr int kNibbleVectors = kLanes == 16 ? 4 : 2;
// From this many rows on, q4 is widened to bytes once for all of them.
constexpr int64_t kWidenRows = 17;

HWY_INLINE void widen_group(const std::byte* codes, VecU8 levels, std::byte* widened) {
  for (int64_t unit = 0; unit < cpu::kQuantPanel / cpu::kUnit; ++unit) {
    for (int64_t i = 0; i < NibbleSource::kLoads; ++i) {
      const auto* from = reinterpret_cast<const uint8_t*>(codes + (unit * NibbleSource::kLoads + i) * cpu::kUnitBytes);
      hwy::Prefetch(from + kAhead);
      auto* to = reinterpret_cast<uint8_t*>(widened + (unit * NibbleSource::kLoads + i) * 2 * cpu::kUnitBytes);
      for (int64_t b = 0; b < cpu::kUnitBytes; b += kLanes * 4) {
        VecU8 low;
        VecU8 high;
        split_nibbles(hn::LoadU(U8(), from + b), levels, low, high);
        hn::StoreU(low, U8(), to + b);
        hn::StoreU(high, U8(), to + cpu::kUnitBytes + b);
      }
    }
  }
}

HWY_INLINE void panel_q4(const std::byte* groups_of_panel, const cpu::QuantizedRows& x, int64_t row0, int64_t rows,
                         float* sums, std::byte* widened) {
  constexpr int64_t kGroupBytes = cpu::quant_group_bytes(WeightFormat::q4, 32);
  constexpr int64_t kWideBytes = 32 * cpu::kQuantPanel;
  const auto levels = load_levels();
  // Blocks of groups that all tiles of rows find in the cache; one tile needs none.
  const int64_t block = rows <= kNibbleRows ? x.groups : cpu::kWidenGroups;
  for (int64_t g0 = 0; g0 < x.groups; g0 += block) {
    const int64_t groups = std::min(block, x.groups - g0);
    const std::byte* at = groups_of_panel + g0 * kGroupBytes;
    const std::byte* codes = at + cpu::kQuantGroupScaleBytes;
    if (rows < kWidenRows) {
      const NibbleSource source{at, kGroupBytes, codes, kGroupBytes, levels};
      quantized_rows<kNibbleRows, kNibbleVectors>(source, g0, groups, x, row0, rows, sums);
    } else {
      for (int64_t g = 0; g < groups; ++g) widen_group(codes + g * kGroupBytes, levels, widened + g * kWideBytes);
      const ByteSource<32, false> source{at, kGroupBytes, widened, kWideBytes};
      quantized_rows<kByteRows, kByteVectors>(source, g0, groups, x, row0, rows, sums);
    }
  }
}

HWY_INLINE void panel_q8(const std::byte* groups_of_panel, const cpu::QuantizedRows& x, int64_t row0, int64_t rows,
                         float* sums) {
  constexpr int64_t kGroupBytes = cpu::quant_group_bytes(WeightFormat::q8, 64);
  constexpr int64_t kBlock = 4;
  const int64_t block = rows <= kByteRows ? x.groups : kBlock;
  for (int64_t g0 = 0; g0 < x.groups; g0 += block) {
    const std::byte* at = groups_of_panel + g0 * kGroupBytes;
    const ByteSource<64, true> source{at, kGroupBytes, at + cpu::kQuantGroupScaleBytes, kGroupBytes};
    quantized_rows<kByteRows, kByteVectors>(source, g0, std::min(block, x.groups - g0), x, row0, rows, sums);
  }
}

void quantized_panel(WeightFormat format, const std::byte* panel, const cpu::QuantizedRows& x, int64_t row0,
                     int64_t rows, float* sums, std::byte* widened) {
  std::fill_n(sums, rows * cpu::kQuantPanel, 0.0f);
  const std::byte* groups = panel + cpu::kQuantRowScaleBytes;
  if (format == WeightFormat::q4) {
    panel_q4(groups, x, row0, rows, sums, widened);
  } else {
    panel_q8(groups, x, row0, rows, sums);
  }
  const auto* row_scales = reinterpret_cast<const float*>(panel);
  for (int64_t o = 0; o < cpu::kQuantPanel; o += kLanes) {
    const auto scale = hn::LoadU(F32(), row_scales + o);
    for (int64_t r = 0; r < rows; ++r) {
      float* sum = sums + r * cpu::kQuantPanel + o;
      hn::StoreU(hn::Mul(hn::LoadU(F32(), sum), scale), F32(), sum);
    }
  }
}

void quantize_activations(const float* x, int64_t cols, int64_t group, const cpu::QuantizedRows& out, int64_t row) {
  std::byte* codes = out.codes + row * out.code_stride;
  for (int64_t g = 0; g < out.groups; ++g) {
    HWY_ALIGN int8_t rounded[64];
    const int64_t k0 = g * group;
    int32_t sum;
    out.scales[row * out.groups + g] = round_group(x + k0, std::min(group, cols - k0), group, rounded, sum);
    out.corrections[row * out.groups + g] = -128 * sum;
    if constexpr (Dot::kCodeBytes == 1) {
      std::memcpy(codes + k0, rounded, static_cast<size_t>(group));
    } else {
      // Even and odd ones apart, as Dot wants them.
      auto* wide = reinterpret_cast<int16_t*>(codes) + k0;
      for (int64_t i = 0; i < group; i += 4) {
        wide[i] = rounded[i];
        wide[i + 1] = rounded[i + 2];
        wide[i + 2] = rounded[i + 1];
        wide[i + 3] = rounded[i + 3];
      }
    }
  }
}

constexpr cpu::QuantizedKernels kKernels{BAMBA_DOT_NAME, Dot::kCodeBytes, quantize_activations, quantized_panel};
