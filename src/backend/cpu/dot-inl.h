// Dot products of four unsigned by four signed bytes, summed into 32 bits: the one primitive of the integer kernels.
// Included once for every instruction set and kind of instruction (see quantized.cpp):
//   BAMBA_DOT_VNNI 1: vpdpbusd, in one instruction;
//   BAMBA_DOT_VNNI 0: the even and the odd bytes as 16-bit integers, multiplied and added in pairs. (Multiplying bytes
//                     directly, pmaddubsw, would saturate: 255 * 127 * 2 does not fit in 16 bits.)
//
// Dot::Weights  what is kept in registers of 4 weights for each of kLanes outputs, kWeightBytes for each in memory;
// Dot::kSteps   for how many times 4 inputs weights are kept in registers together;
// Dot::Codes    4 activations, the same for all lanes.

struct Dot {
#if BAMBA_DOT_VNNI
  static constexpr int64_t kCodeBytes = 1;
  static constexpr int64_t kWeightBytes = 1;
  static constexpr int kSteps = 2;
  using Weights = VecU8;
  using Codes = VecI32;
  static HWY_INLINE Weights prepare(VecU8 codes) {
    return codes;
  }
  static HWY_INLINE void store(const Weights& w, std::byte* p) {
    hn::Store(w, U8(), reinterpret_cast<uint8_t*>(p));
  }
  static HWY_INLINE Weights load(const std::byte* p) {
    return hn::Load(U8(), reinterpret_cast<const uint8_t*>(p));
  }
  static HWY_INLINE Codes broadcast(const std::byte* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof(four));
    return hn::Set(I32(), four);
  }
  /// In assembly: GCC 12 copies the sums of the intrinsic to and fro, through memory when there are many.
  static HWY_INLINE VecI32 add(VecI32 sum, const Weights& w, const Codes& x) {
#if HWY_TARGET == HWY_AVX2
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(w.raw), "x"(x.raw));
#else
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
#endif
    return sum;
  }
#else
  static constexpr int64_t kCodeBytes = 2;
  static constexpr int64_t kWeightBytes = 2;
  static constexpr int kSteps = 1;
  struct Weights {
    VecI16 even, odd;
    // Written out: one that GCC writes lacks the attributes of the instruction set, without which NEON's vectors cannot
    // be made.
    HWY_INLINE Weights() {}
    HWY_INLINE Weights(VecI16 e, VecI16 o) : even(e), odd(o) {}
  };
  struct Codes {
    VecI16 even, odd;
  };
  static HWY_INLINE Weights prepare(VecU8 codes) {
    const hn::Repartition<uint16_t, I32> wide;
    const I16 result;
    const auto pairs = hn::BitCast(wide, codes);
    return {hn::BitCast(result, hn::And(pairs, hn::Set(wide, 0x00FF))), hn::BitCast(result, hn::ShiftRight<8>(pairs))};
  }
  static HWY_INLINE void store(const Weights& w, std::byte* p) {
    hn::Store(w.even, I16(), reinterpret_cast<int16_t*>(p));
    hn::Store(w.odd, I16(), reinterpret_cast<int16_t*>(p) + 2 * kLanes);
  }
  static HWY_INLINE Weights load(const std::byte* p) {
    return {hn::Load(I16(), reinterpret_cast<const int16_t*>(p)),
            hn::Load(I16(), reinterpret_cast<const int16_t*>(p) + 2 * kLanes)};
  }
  static HWY_INLINE Codes broadcast(const std::byte* p) {
    int32_t two[2];
    std::memcpy(two, p, sizeof(two));
    return {hn::BitCast(I16(), hn::Set(I32(), two[0])), hn::BitCast(I16(), hn::Set(I32(), two[1]))};
  }
  /// Sums of neighbouring products.
  static HWY_INLINE VecI32 pairs(VecI16 a, VecI16 b) {
#if HWY_TARGET == HWY_AVX3
    return VecI32{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
    return VecI32{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4
    return VecI32{_mm_madd_epi16(a.raw, b.raw)};
#elif HWY_ARCH_ARM_A64
    return VecI32{vpaddq_s32(vmull_s16(vget_low_s16(a.raw), vget_low_s16(b.raw)), vmull_high_s16(a.raw, b.raw))};
#else
#error "an instruction set without a product of 16-bit pairs here; see targets.h"
#endif
  }
  static HWY_INLINE VecI32 add(VecI32 sum, const Weights& w, const Codes& x) {
    sum = hn::Add(sum, hn::Add(pairs(w.even, x.even), pairs(w.odd, x.odd)));
    // Does nothing, but keeps the sums where they are. Left to itself, GCC adds up a whole group's products in a tree,
    // for which it first puts them all into memory.
#if HWY_ARCH_ARM_A64
    asm("" : "+w"(sum.raw));
#elif HWY_TARGET == HWY_AVX3
    asm("" : "+v"(sum.raw));
#else
    asm("" : "+x"(sum.raw));
#endif
    return sum;
  }
#endif
};
