// Vector helpers shared by the CPU kernels. Included once per instruction set (see hwy/foreach_target.h).
//
// Every reduction here runs over 16 partial sums whatever the register width, and every elementwise function is
// lane-independent: results do not depend on the instruction set's width, nor on where in a row an element stands.
#if defined(BAMBA_BACKEND_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BAMBA_BACKEND_CPU_VECTOR_INL_H_
#undef BAMBA_BACKEND_CPU_VECTOR_INL_H_
#else
#define BAMBA_BACKEND_CPU_VECTOR_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// At most 16 lanes: an AVX-512 register. 16 is also the unit that rows are padded to.
using F32 = hn::CappedTag<float, 16>;
using VecF32 = hn::Vec<F32>;
constexpr int64_t kGroup = 16;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(F32()));
constexpr int64_t kVectorsPerGroup = kGroup / kLanes;

// Before a loop over an array of registers. Left to itself, GCC keeps loops of more than 16 turns, and the array with
// them in memory.
#undef BAMBA_UNROLL
#ifdef __clang__
#define BAMBA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define BAMBA_UNROLL _Pragma("GCC unroll 32")
#endif

/// min(n, kLanes) floats at p, zeros behind them; reads nothing past them. n is what is left of the row, so that
/// loops read `for (i = 0; i < n; i += kLanes) ... load_n(p + i, n - i)` and need no tail of their own.
HWY_INLINE VecF32 load_n(const float* p, int64_t n) {
  if (HWY_LIKELY(n >= kLanes)) return hn::LoadU(F32(), p);
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return hn::Load(F32(), lanes);
}
HWY_INLINE void store_n(VecF32 v, float* p, int64_t n) {
  if (HWY_LIKELY(n >= kLanes)) {
    hn::StoreU(v, F32(), p);
    return;
  }
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, F32(), lanes);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
}

/// Sum of 16 partial sums in one fixed tree.
HWY_INLINE float tree_sum(const float* partial) {
  float s[8];
  for (int i = 0; i < 8; ++i) s[i] = partial[i] + partial[i + 8];
  for (int i = 0; i < 4; ++i) s[i] += s[i + 4];
  return (s[0] + s[2]) + (s[1] + s[3]);
}

/// Running sum of a row: add() takes the row's vectors in order; element i goes to partial sum i mod 16.
class RowSum {
 public:
  HWY_INLINE RowSum() {
    for (auto& sum : sums_) sum = hn::Zero(F32());
  }
  /// sum of a * b; lanes past the row's end must be zero in one of them.
  HWY_INLINE void add_product(int64_t i, VecF32 a, VecF32 b) {
    auto& sum = sums_[(i / kLanes) % kVectorsPerGroup];
    sum = hn::MulAdd(a, b, sum);
  }
  HWY_INLINE void add(int64_t i, VecF32 a) {
    auto& sum = sums_[(i / kLanes) % kVectorsPerGroup];
    sum = hn::Add(sum, a);
  }
  HWY_INLINE float total() const {
    HWY_ALIGN float partial[kGroup];
    for (int64_t i = 0; i < kVectorsPerGroup; ++i) hn::Store(sums_[i], F32(), partial + i * kLanes);
    return tree_sum(partial);
  }

 private:
  VecF32 sums_[kVectorsPerGroup];
};

/// exp(x); arguments are clamped to where f32 stays finite and normal enough (past -104 the result is 0).
HWY_INLINE VecF32 exp_f32(VecF32 x) {
  return hn::Exp(F32(), hn::Min(x, hn::Set(F32(), 88.7f)));
}
HWY_INLINE VecF32 sigmoid_f32(VecF32 x) {
  const F32 d;
  const auto one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp_f32(hn::Neg(x))));
}
HWY_INLINE VecF32 silu_f32(VecF32 x) {
  const F32 d;
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp_f32(hn::Neg(x))));
}
/// log(1 + exp(x)); x itself above 20, as torch does, so that nothing overflows.
HWY_INLINE VecF32 softplus_f32(VecF32 x) {
  const F32 d;
  const auto limit = hn::Set(d, 20.0f);
  return hn::IfThenElse(hn::Gt(x, limit), x, hn::Log1p(d, hn::Exp(d, hn::Min(x, limit))));
}
/// GELU with the exact error function. libm per lane: only models with hidden_act "gelu" pay for it.
HWY_INLINE VecF32 gelu_f32(VecF32 x) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(x, F32(), lanes);
  for (auto& lane : lanes) lane = 0.5f * lane * (1.0f + std::erf(lane * 0.70710678118654752f));
  return hn::Load(F32(), lanes);
}
/// GELU's tanh form ("gelu_new", "gelu_pytorch_tanh").
HWY_INLINE VecF32 gelu_tanh_f32(VecF32 x) {
  const F32 d;
  const auto cube = hn::Mul(hn::Mul(x, x), x);
  const auto inner = hn::Mul(hn::Set(d, 0.79788456080286536f), hn::MulAdd(hn::Set(d, 0.044715f), cube, x));
  // tanh saturates long before 9 in f32; the bound keeps the exponential inside finite.
  const auto bounded = hn::Max(hn::Min(inner, hn::Set(d, 9.1f)), hn::Set(d, -9.1f));
  const auto half_x = hn::Mul(hn::Set(d, 0.5f), x);
  return hn::MulAdd(half_x, hn::Tanh(d, bounded), half_x);
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
