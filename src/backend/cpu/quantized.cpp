// Products with q8 and q4 weights, compiled for every instruction set, with and without its dot-product instructions.
#include "backend/cpu/quantized.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include <hwy/cache_control.h>

#include "backend/cpu/cpu_features.h"
#include "backend/cpu/quantized_amx.h"
#include "backend/cpu/targets.h"
#include "tensor/quantized_matrix.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/quantized.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using I32 = hn::RebindToSigned<F32>;
using I16 = hn::Repartition<int16_t, I32>;
using U8 = hn::Repartition<uint8_t, I32>;
using VecI32 = hn::Vec<I32>;
using VecI16 = hn::Vec<I16>;
using VecU8 = hn::Vec<U8>;

/// The levels of q4 plus 128, in every 16 bytes.
HWY_INLINE VecU8 load_levels() {
  HWY_ALIGN uint8_t levels[16];
  for (size_t i = 0; i < 16; ++i) levels[i] = static_cast<uint8_t>(int{kQ4Levels[i]} + 128);
  return hn::LoadDup128(U8(), levels);
}

/// Rounds n <= group floats to multiples of max |x| / 127, ties to even; zeros behind them. Returns the scale and the
/// sum of the codes. Where a value is not finite, neither is the scale.
HWY_INLINE float round_group(const float* x, int64_t n, int64_t group, int8_t* codes, int32_t& sum) {
  const F32 df;
  const I32 di;
  // As integers the bits of magnitudes sort like the magnitudes, NaN on top.
  auto largest = hn::Zero(di);
  const auto magnitude_bits = hn::Set(di, 0x7FFFFFFF);
  for (int64_t i = 0; i < n; i += kLanes) {
    largest = hn::Max(largest, hn::And(hn::BitCast(di, load_n(x + i, n - i)), magnitude_bits));
  }
  const int32_t bits = hn::GetLane(hn::MaxOfLanes(di, largest));
  float maximum;
  std::memcpy(&maximum, &bits, sizeof(maximum));
  constexpr int32_t kInfinityBits = 0x7F800000;
  constexpr float kTooSmall = 1e-30f;  // its inverse would be infinite or nearly so: rounds to zero
  if (bits >= kInfinityBits || maximum < kTooSmall) {
    std::fill_n(codes, group, int8_t{0});
    sum = 0;
    return bits >= kInfinityBits ? maximum - maximum : 0.0f;  // NaN, or nothing
  }
  const auto inverse = hn::Set(df, 127.0f / maximum);
  auto sums = hn::Zero(di);
  for (int64_t i = 0; i < group; i += kLanes) {
    const auto value = i < n ? hn::Mul(load_n(x + i, n - i), inverse) : hn::Zero(df);
    const auto rounded = hn::NearestInt(value);
    sums = hn::Add(sums, rounded);
    hn::StoreU(hn::DemoteTo(hn::Rebind<int8_t, I32>(), rounded), hn::Rebind<int8_t, I32>(), codes + i);
  }
  sum = hn::GetLane(hn::SumOfLanes(di, sums));
  return maximum / 127.0f;
}

namespace pairs {
#define BAMBA_DOT_VNNI 0
#define BAMBA_DOT_NAME "16-bit pairs"
#include "backend/cpu/dot-inl.h"
#include "backend/cpu/quantized-inl.h"
#undef BAMBA_DOT_VNNI
#undef BAMBA_DOT_NAME
}  // namespace pairs

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

// VNNI came apart from the sets it extends, so it is asked for at run time inside them.
#undef BAMBA_TARGET_HAS_VNNI
#if HWY_TARGET == HWY_AVX2
#define BAMBA_TARGET_HAS_VNNI 1
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avxvnni")
#elif HWY_TARGET == HWY_AVX3
#define BAMBA_TARGET_HAS_VNNI 1
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
#else
#define BAMBA_TARGET_HAS_VNNI 0
#endif

#if BAMBA_TARGET_HAS_VNNI
namespace bamba::backend::HWY_NAMESPACE {
namespace vnni {
#define BAMBA_DOT_VNNI 1
#define BAMBA_DOT_NAME "VNNI"
#include "backend/cpu/dot-inl.h"
#include "backend/cpu/quantized-inl.h"
#undef BAMBA_DOT_VNNI
#undef BAMBA_DOT_NAME
}  // namespace vnni
}  // namespace bamba::backend::HWY_NAMESPACE
HWY_POP_ATTRIBUTES
#endif

namespace bamba::backend::HWY_NAMESPACE {

const cpu::QuantizedKernels* kernels_of_target(const cpu::CpuFeatures& features) {
#if HWY_TARGET == HWY_AVX2
  if (features.avx_vnni) return &vnni::kKernels;
#elif HWY_TARGET == HWY_AVX3
  if (features.avx512_vnni) {
    const bool has_amx = features.amx_int8 && features.avx512_vbmi;
    const cpu::QuantizedKernels* amx = has_amx ? cpu::amx_kernels(vnni::kKernels) : nullptr;
    return amx != nullptr ? amx : &vnni::kKernels;
  }
#else
  static_cast<void>(features);
#endif
  return &pairs::kKernels;
}

}  // namespace bamba::backend::HWY_NAMESPACE

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(kernels_of_target);

namespace cpu {
namespace {
std::atomic<bool> vnni_disabled{false};
}

int64_t quant_panel_bytes(WeightFormat format, int64_t in) {
  const int64_t group = group_size(format);
  return kQuantRowScaleBytes + (in + group - 1) / group * quant_group_bytes(format, group);
}

void disable_vnni(bool disabled) {
  vnni_disabled = disabled;
}

const QuantizedKernels& quantized_kernels() {
  return *HWY_DYNAMIC_DISPATCH(kernels_of_target)(vnni_disabled ? CpuFeatures{} : cpu_features());
}

}  // namespace cpu
}  // namespace bamba::backend
#endif
