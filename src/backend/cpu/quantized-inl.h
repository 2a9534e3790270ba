// The kernels of quantized.h over the primitive of dot-inl.h. No include guard: see there.

// How far ahead of the weights in use memory is asked for more: the processor's own prefetching is too late where there
// is arithmetic for several rows between two loads. May reach past the end of the weights; asking is harmless.
constexpr int64_t kAhead = 8192;

/// One group after another of a packed q8 panel: each load gives 4 inputs.
struct Q8Source {
  static constexpr WeightFormat kFormat = WeightFormat::q8;
  static constexpr int64_t kGroupSize = 64;
  static constexpr int64_t kUnitStride = kGroupSize / 4 * cpu::kUnitBytes;
  static constexpr int64_t kGroupBytes = cpu::quant_group_bytes(kFormat, kGroupSize);
  /// Whether load() has more to do than to load.
  static constexpr bool kUnpacks = Dot::kWeightBytes > 1;

  static HWY_INLINE Q8Source make() { return {}; }
  /// Where load() finds the first inputs of a group for one vector of outputs; the next group is kGroupBytes further.
  static HWY_INLINE const std::byte* start(const std::byte* panel_groups, int64_t group, int64_t vector) {
    return panel_groups + group * kGroupBytes + cpu::kQuantGroupScaleBytes + vector / kVectorsPerGroup * kUnitStride +
           vector % kVectorsPerGroup * kLanes * 4;
  }

  HWY_INLINE Dot::Weights load(const std::byte* p, int i) const {
    hwy::Prefetch(p + i * cpu::kUnitBytes + kAhead);
    return Dot::prepare(hn::LoadU(U8(), reinterpret_cast<const uint8_t*>(p + i * cpu::kUnitBytes)));
  }
};

/// The same of q4, whose 64 bytes hold 8 inputs: they are loaded twice, once for each half of the bytes, which takes
/// fewer registers than keeping the second half.
struct Q4Source {
  static constexpr WeightFormat kFormat = WeightFormat::q4;
  static constexpr int64_t kGroupSize = 32;
  static constexpr int64_t kUnitStride = kGroupSize / 8 * cpu::kUnitBytes;
  static constexpr int64_t kGroupBytes = cpu::quant_group_bytes(kFormat, kGroupSize);
  static constexpr bool kUnpacks = true;
  VecU8 levels;

  static HWY_INLINE Q4Source make() { return {load_levels()}; }
  static HWY_INLINE const std::byte* start(const std::byte* panel_groups, int64_t group, int64_t vector) {
    return panel_groups + group * kGroupBytes + cpu::kQuantGroupScaleBytes + vector / kVectorsPerGroup * kUnitStride +
           vector % kVectorsPerGroup * kLanes * 4;
  }

  HWY_INLINE Dot::Weights load(const std::byte* p, int i) const {
    const U8 d;
    const hn::Repartition<uint16_t, U8> wide;
    p += i / 2 * cpu::kUnitBytes;
    auto codes = hn::LoadU(d, reinterpret_cast<const uint8_t*>(p));
    if (i % 2 == 0) {
      hwy::Prefetch(p + kAhead);
    } else {
      codes = hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(wide, codes)));
    }
    return Dot::prepare(hn::TableLookupBytes(levels, hn::And(codes, hn::Set(d, 0x0F))));
  }
};

/// What load() of another source gives for a few groups, in the order of use: many rows need it, and then it is made
/// once for all of them.
template <class Source>
struct Unpacked {
  static constexpr WeightFormat kFormat = Source::kFormat;
  static constexpr int64_t kGroupSize = Source::kGroupSize;
  static constexpr int64_t kStepBytes = kLanes * 4 * Dot::kWeightBytes;
  static constexpr int64_t kVectorBytes = kGroupSize / 4 * kStepBytes;
  static constexpr int64_t kGroupBytes = cpu::kQuantPanel / kLanes * kVectorBytes;
  /// Of which half of the smallest L1 there is can hold so many.
  static constexpr int64_t kGroups = 16384 / kGroupBytes;

  const std::byte* memory;
  int64_t first_group;

  /// `memory`: kGroups * kGroupBytes, aligned for vectors.
  static HWY_INLINE Unpacked make(const Source& source, const std::byte* panel_groups, int64_t first_group,
                                  int64_t groups, std::byte* memory) {
    std::byte* target = memory;
    for (int64_t g = first_group; g < first_group + groups; ++g) {
      for (int64_t vector = 0; vector < cpu::kQuantPanel / kLanes; ++vector) {
        const std::byte* packed = Source::start(panel_groups, g, vector);
        BAMBA_UNROLL
        for (int i = 0; i < kGroupSize / 4; ++i) Dot::store(source.load(packed, i), target + i * kStepBytes);
        target += kVectorBytes;
      }
    }
    return {memory, first_group};
  }
  HWY_INLINE const std::byte* start(const std::byte* /*panel_groups*/, int64_t group, int64_t vector) const {
    return memory + (group - first_group) * kGroupBytes + vector * kVectorBytes;
  }
  HWY_INLINE Dot::Weights load(const std::byte* p, int i) const { return Dot::load(p + i * kStepBytes); }
};

// Tiles that fill the registers: with 32 of them 4 x 4 sums and as many weights, with 16 of them 4 x 2.
constexpr int kTileRows = 4;
constexpr int kTileVectors = kLanes == 16 ? 4 : 2;

/// sums[r, o] += the products of `groups` groups, for kRows rows and kVectors vectors of outputs from `vector` on.
template <int kRows, int kVectors, class Source>
HWY_INLINE void quantized_tile(const Source& source, const std::byte* panel_groups, int64_t first_group, int64_t groups,
                               int64_t vector, const cpu::QuantizedRows& x, int64_t row, float* HWY_RESTRICT sums) {
  const F32 df;
  const I32 di;
  constexpr int kSteps = Source::kGroupSize / 4;
  constexpr int64_t kStepBytes = 4 * Dot::kCodeBytes;  // of activations
  constexpr int64_t kPackedGroupBytes = cpu::quant_group_bytes(Source::kFormat, Source::kGroupSize);
  const std::byte* codes[kRows];
  BAMBA_UNROLL
  for (int r = 0; r < kRows; ++r) codes[r] = x.codes + (row + r) * x.code_stride + first_group * kSteps * kStepBytes;
  const std::byte* weights[kVectors];
  BAMBA_UNROLL
  for (int v = 0; v < kVectors; ++v) weights[v] = source.start(panel_groups, first_group, vector + v);
  const std::byte* group_scales = panel_groups + first_group * kPackedGroupBytes + vector * kLanes;
  for (int64_t g = first_group; g < first_group + groups; ++g) {
    VecI32 dots[kRows][kVectors];
    BAMBA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const auto start = hn::Set(di, x.corrections[(row + r) * x.groups + g]);
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) dots[r][v] = start;
    }
    // Unrolled as well: sums that live through a loop GCC copies at each turn.
    BAMBA_UNROLL
    for (int i = 0; i < kSteps; i += Dot::kSteps) {
      Dot::Weights w[kVectors][Dot::kSteps];
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        BAMBA_UNROLL
        for (int s = 0; s < Dot::kSteps; ++s) w[v][s] = source.load(weights[v], i + s);
      }
      BAMBA_UNROLL
      for (int r = 0; r < kRows; ++r) {
        BAMBA_UNROLL
        for (int s = 0; s < Dot::kSteps; ++s) {
          const auto four = Dot::broadcast(codes[r] + (i + s) * kStepBytes);
          BAMBA_UNROLL
          for (int v = 0; v < kVectors; ++v) dots[r][v] = Dot::add(dots[r][v], w[v][s], four);
        }
      }
    }
    VecF32 scales[kVectors];
    BAMBA_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const auto* p = reinterpret_cast<const int8_t*>(group_scales) + v * kLanes;
      scales[v] = hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(hn::Rebind<int8_t, I32>(), p)));
      weights[v] += Source::kGroupBytes;
    }
    group_scales += kPackedGroupBytes;
    BAMBA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const auto x_scale = hn::Set(df, x.scales[(row + r) * x.groups + g]);
      BAMBA_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        float* sum = sums + r * cpu::kQuantPanel + (vector + v) * kLanes;
        const auto value = hn::Mul(hn::ConvertTo(df, dots[r][v]), x_scale);
        hn::StoreU(hn::MulAdd(value, scales[v], hn::LoadU(df, sum)), df, sum);
      }
      codes[r] += kSteps * kStepBytes;
    }
  }
}

/// All 64 outputs.
template <int kRows, class Source>
HWY_INLINE void quantized_columns(const Source& source, const std::byte* panel_groups, int64_t first_group,
                                  int64_t groups, const cpu::QuantizedRows& x, int64_t row, float* sums) {
  for (int64_t vector = 0; vector < cpu::kQuantPanel / kLanes; vector += kTileVectors) {
    quantized_tile<kRows, kTileVectors>(source, panel_groups, first_group, groups, vector, x, row, sums);
  }
}

/// A last tile of at most kRows rows.
template <int kRows, class Source>
HWY_INLINE void quantized_tail(const Source& source, const std::byte* panel_groups, int64_t first_group, int64_t groups,
                               const cpu::QuantizedRows& x, int64_t row, int64_t rows, float* sums) {
  if (rows == kRows) {
    quantized_columns<kRows>(source, panel_groups, first_group, groups, x, row, sums);
  } else if constexpr (kRows > 1) {
    quantized_tail<kRows - 1>(source, panel_groups, first_group, groups, x, row, rows, sums);
  }
}

/// All rows.
template <class Source>
HWY_INLINE void quantized_rows(const Source& source, const std::byte* panel_groups, int64_t first_group, int64_t groups,
                               const cpu::QuantizedRows& x, int64_t row0, int64_t rows, float* sums) {
  int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    quantized_columns<kTileRows>(source, panel_groups, first_group, groups, x, row0 + r, sums + r * cpu::kQuantPanel);
  }
  quantized_tail<kTileRows - 1>(source, panel_groups, first_group, groups, x, row0 + r, rows - r,
                                sums + r * cpu::kQuantPanel);
}

/// From so many rows on, weights are unpacked once for all of them.
constexpr int64_t kUnpackedRows = int64_t{3} * kTileRows;

template <class Source>
HWY_INLINE void quantized_groups(const std::byte* panel_groups, const cpu::QuantizedRows& x, int64_t row0, int64_t rows,
                                 float* sums) {
  const Source source = Source::make();
  if (Source::kUnpacks && rows >= kUnpackedRows) {
    using Block = Unpacked<Source>;
    alignas(64) std::byte memory[Block::kGroups * Block::kGroupBytes];
    for (int64_t g0 = 0; g0 < x.groups; g0 += Block::kGroups) {
      const int64_t groups = std::min(Block::kGroups, x.groups - g0);
      const Block block = Block::make(source, panel_groups, g0, groups, memory);
      quantized_rows(block, panel_groups, g0, groups, x, row0, rows, sums);
    }
    return;
  }
  // Several tiles of rows find a block of groups, 16 KiB of q8, in the cache.
  constexpr int64_t kBlock = 256 / Source::kGroupSize;
  const int64_t block = rows <= kTileRows ? x.groups : kBlock;
  for (int64_t g0 = 0; g0 < x.groups; g0 += block) {
    quantized_rows(source, panel_groups, g0, std::min(block, x.groups - g0), x, row0, rows, sums);
  }
}

static void quantized_panel(WeightFormat format, const std::byte* panel, const cpu::QuantizedRows& x, int64_t row0,
                            int64_t rows, float* sums) {
  std::fill_n(sums, rows * cpu::kQuantPanel, 0.0f);
  const std::byte* groups = panel + cpu::kQuantRowScaleBytes;
  if (format == WeightFormat::q4) {
    quantized_groups<Q4Source>(groups, x, row0, rows, sums);
  } else {
    quantized_groups<Q8Source>(groups, x, row0, rows, sums);
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

static void quantize_activations(const float* x, int64_t cols, int64_t group, const cpu::QuantizedRows& out,
                                 int64_t row) {
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

constexpr cpu::QuantizedKernels kKernels{BAMBA_DOT_NAME, Dot::kCodeBytes, 128, quantize_activations, quantized_panel};
