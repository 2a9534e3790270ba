// Turns a run-time Activation into a compile-time function, once per call instead of once per element.
#if defined(BAMBA_BACKEND_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BAMBA_BACKEND_CPU_ACTIVATION_INL_H_
#undef BAMBA_BACKEND_CPU_ACTIVATION_INL_H_
#else
#define BAMBA_BACKEND_CPU_ACTIVATION_INL_H_
#endif

#include "backend/backend.h"
#include "backend/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

/// One function object an activation; kernels are templates over it.
struct Silu {
  HWY_INLINE VecF32 operator()(VecF32 v) const { return silu_f32(v); }
};
struct Gelu {
  HWY_INLINE VecF32 operator()(VecF32 v) const { return gelu_f32(v); }
};
struct GeluTanh {
  HWY_INLINE VecF32 operator()(VecF32 v) const { return gelu_tanh_f32(v); }
};
struct Relu {
  HWY_INLINE VecF32 operator()(VecF32 v) const { return hn::Max(v, hn::Zero(F32())); }
};

/// Calls body(function object).
template <typename Body>
void with_activation(Activation activation, Body body) {
  switch (activation) {
    case Activation::silu:
      body(Silu());
      break;
    case Activation::gelu:
      body(Gelu());
      break;
    case Activation::gelu_tanh:
      body(GeluTanh());
      break;
    case Activation::relu:
      body(Relu());
      break;
  }
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
