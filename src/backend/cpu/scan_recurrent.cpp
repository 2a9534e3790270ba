// The selective scan as a recurrence, for prompts and for decoding: the same function, so the same bits.
//
// The state of one head, [d_state, d_head], is walked with lanes along d_head: the sum over d_state that makes y is a
// chain per lane, without horizontal sums. Four tokens share each pass over the state (a state element is loaded and
// stored once for four updates); one token at a time does the same operations in the same order.
#include <algorithm>

#include "backend/cpu/mamba.h"
#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/scan_recurrent.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::Context;
using cpu::ScanArguments;
using cpu::Scratch;

void time_steps(Context& context, Matrix dt, const float* a, const float* dt_bias, const ScanShape& shape, float* delta,
                float* log_decay) {
  const int64_t heads = shape.n_heads;
  const auto low = hn::Set(F32(), shape.time_step_min);
  const auto high = hn::Set(F32(), shape.time_step_max);
  context.parallel(dt.rows, dt.rows * heads * 40, [&](int64_t r, Scratch&) HWY_ATTR {
    for (int64_t h = 0; h < heads; h += kLanes) {
      const int64_t left = heads - h;
      const auto raw = hn::Add(load_n(dt.data + r * dt.stride + h, left), load_n(dt_bias + h, left));
      const auto step = hn::Min(hn::Max(softplus_f32(raw), low), high);
      store_n(step, delta + r * heads + h, left);
      store_n(hn::Mul(step, load_n(a + h, left)), log_decay + r * heads + h, left);
    }
  });
}

// Registers with AVX-512: 4 tokens x 2 vectors of y and of Delta x, 2 of state, 4 decays, and B, C as they come.
constexpr int kScanTokens = 4;
constexpr int kScanVectors = kLanes == 16 ? 2 : 1;

/// Tokens [row, row + kTokens) of one head, columns [p, p + kVectors * kLanes) of d_head (fewer when kPartial).
template <int kTokens, int kVectors, bool kPartial>
HWY_INLINE void scan_block(const ScanArguments& args, int64_t row, int64_t head, int64_t group, const float* decay,
                           int64_t p, float* HWY_RESTRICT state) {
  const F32 d;
  const int64_t width = args.shape.d_head;
  const int64_t left = width - p;
  const auto load = [&](const float* q) HWY_ATTR { return kPartial ? load_n(q, left) : hn::LoadU(d, q); };
  const auto store = [&](VecF32 v, float* q) HWY_ATTR {
    if (kPartial) {
      store_n(v, q, left);
    } else {
      hn::StoreU(v, d, q);
    }
  };
  VecF32 inputs[kTokens][kVectors];
  VecF32 outputs[kTokens][kVectors];
  VecF32 decays[kTokens];
  const float* b[kTokens];
  const float* c[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    decays[t] = hn::Set(d, decay[t]);
    b[t] = args.b(row + t, group);
    c[t] = args.c(row + t, group);
    const auto delta = hn::Set(d, args.delta[(row + t) * args.shape.n_heads + head]);
    for (int v = 0; v < kVectors; ++v) {
      inputs[t][v] = hn::Mul(delta, load(args.x(row + t, head) + p + v * kLanes));
      outputs[t][v] = hn::Zero(d);
    }
  }
  for (int64_t n = 0; n < args.shape.d_state; ++n) {
    float* line = state + n * width + p;
    VecF32 s[kVectors];
    for (int v = 0; v < kVectors; ++v) s[v] = load(line + v * kLanes);
    for (int t = 0; t < kTokens; ++t) {
      const auto bn = hn::Set(d, b[t][n]);
      const auto cn = hn::Set(d, c[t][n]);
      for (int v = 0; v < kVectors; ++v) {
        s[v] = hn::MulAdd(inputs[t][v], bn, hn::Mul(s[v], decays[t]));
        outputs[t][v] = hn::MulAdd(s[v], cn, outputs[t][v]);
      }
    }
    for (int v = 0; v < kVectors; ++v) store(s[v], line + v * kLanes);
  }
  const auto skip = hn::Set(d, args.d[head]);
  for (int t = 0; t < kTokens; ++t) {
    for (int v = 0; v < kVectors; ++v) {
      const auto x = load(args.x(row + t, head) + p + v * kLanes);
      store(hn::MulAdd(skip, x, outputs[t][v]),
            args.out.data + (row + t) * args.out.stride + head * width + p + v * kLanes);
    }
  }
}

template <int kTokens>
HWY_INLINE void scan_tokens(const ScanArguments& args, int64_t row, int64_t head, int64_t group, float* state) {
  float decay[kTokens];
  HWY_ALIGN float lanes[kLanes] = {};
  for (int t = 0; t < kTokens; ++t) {
    lanes[0] = args.log_decay[(row + t) * args.shape.n_heads + head];
    decay[t] = hn::GetLane(exp_f32(hn::Load(F32(), lanes)));
  }
  const int64_t width = args.shape.d_head;
  int64_t p = 0;
  for (; p + kScanVectors * kLanes <= width; p += kScanVectors * kLanes) {
    scan_block<kTokens, kScanVectors, false>(args, row, head, group, decay, p, state);
  }
  for (; p < width; p += kLanes) scan_block<kTokens, 1, true>(args, row, head, group, decay, p, state);
}

void scan_recurrent(Context& context, const ScanArguments& args) {
  const ScanShape& shape = args.shape;
  const int64_t heads = shape.n_heads;
  const int64_t work = args.out.rows * heads * shape.d_head * shape.d_state * 2;
  context.parallel(static_cast<int64_t>(args.sequences.size()) * heads, work, [&](int64_t task, Scratch&) HWY_ATTR {
    const auto s = static_cast<size_t>(task / heads);
    const int64_t head = task % heads;
    const int64_t group = head / (heads / shape.n_groups);
    float* state = args.states[s] + head * shape.d_state * shape.d_head;
    const SequenceRows& rows = args.sequences[s];
    int64_t t = 0;
    for (; t + kScanTokens <= rows.count; t += kScanTokens) {
      scan_tokens<kScanTokens>(args, rows.first + t, head, group, state);
    }
    for (; t < rows.count; ++t) scan_tokens<1>(args, rows.first + t, head, group, state);
  });
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(time_steps);
HWY_EXPORT(scan_recurrent);

namespace cpu {
void time_steps(Context& context, Matrix dt, const float* a, const float* dt_bias, const ScanShape& shape, float* delta,
                float* log_decay) {
  HWY_DYNAMIC_DISPATCH(time_steps)(context, dt, a, dt_bias, shape, delta, log_decay);
}
void scan_recurrent(Context& context, const ScanArguments& arguments) {
  HWY_DYNAMIC_DISPATCH(scan_recurrent)(context, arguments);
}
}  // namespace cpu
}  // namespace bamba::backend
#endif
