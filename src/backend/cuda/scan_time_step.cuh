// Time steps of the selective scan.
#pragma once

namespace bamba::backend::cuda {

/// clamp(softplus(raw), low, high). From 20 on softplus(raw) is raw in f32 (exp(-20) is less than half an ulp of 20),
/// and exp would overflow later.
__device__ __forceinline__ float time_step(float raw, float low, float high) {
  const float soft = raw > 20.0f ? raw : log1pf(expf(raw));
  return fminf(fmaxf(soft, low), high);
}

}  // namespace bamba::backend::cuda
