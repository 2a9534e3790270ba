#include <algorithm>
#include <cstring>

#include "backend/cpu/mamba.h"
#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/causal_conv.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::Context;
using cpu::Scratch;

// Channels are independent: a task takes this many of one sequence, for all of its tokens. 256 floats a row and tap
// keep the taps' weights and the window in L1.
constexpr int64_t kChannelBlock = 256;

// A block's inputs of one token are a short piece of a long row, too short for the processor to see what comes: they
// are asked for this many tokens ahead.
constexpr int64_t kFetchAhead = 4;

struct ConvTask {
  Matrix in;
  Matrix out;
  SequenceRows rows;
  float* window;  // [width, channels]
  const float* weight;
  const float* bias;
  ConvShape shape;

  /// Input of token t relative to the first new one; t < 0 reaches back into the window.
  HWY_INLINE const float* input(int64_t t) const {
    return t < 0 ? window + (shape.width + t) * shape.channels : in.data + (rows.first + t) * in.stride;
  }
};

template <typename Function>
void convolve(const ConvTask& task, int64_t c0, int64_t c1, Function function) {
  const int64_t width = task.shape.width;
  for (int64_t t = 0; t < task.rows.count; ++t) {
    float* target = task.out.data + (task.rows.first + t) * task.out.stride;
    const float* coming = task.input(std::min(t + kFetchAhead, task.rows.count - 1));
    for (int64_t c = c0; c < c1; c += kLanes) {
      const int64_t left = c1 - c;
      __builtin_prefetch(coming + c);
      auto sum = task.bias != nullptr ? load_n(task.bias + c, left) : hn::Zero(F32());
      for (int64_t k = 0; k < width; ++k) {
        sum = hn::MulAdd(load_n(task.weight + k * task.shape.channels + c, left),
                         load_n(task.input(t - width + 1 + k) + c, left), sum);
      }
      store_n(function(sum), target + c, left);
    }
  }
  // The window now ends with the newest input. Rows move towards the front, oldest first, so each is read before it
  // is overwritten.
  for (int64_t k = 0; k < width; ++k) {
    const float* source = task.input(task.rows.count - width + k);
    float* target = task.window + k * task.shape.channels;
    if (source != target) std::memcpy(target + c0, source + c0, static_cast<size_t>(c1 - c0) * sizeof(float));
  }
}

void causal_conv(Context& context, Matrix in, std::span<const SequenceRows> sequences, std::span<float* const> windows,
                 const float* weight, const float* bias, ConvShape shape, Activation activation, Matrix out) {
  const int64_t blocks = (shape.channels + kChannelBlock - 1) / kChannelBlock;
  const int64_t work = in.rows * shape.channels * (shape.width + 12);
  const auto tasks = static_cast<int64_t>(sequences.size()) * blocks;
  with_activation(activation, [&](auto function) {
    context.parallel(tasks, work, [&](int64_t task, Scratch&) HWY_ATTR {
      const auto s = static_cast<size_t>(task / blocks);
      const int64_t c0 = task % blocks * kChannelBlock;
      const int64_t c1 = std::min(shape.channels, c0 + kChannelBlock);
      convolve(ConvTask{in, out, sequences[s], windows[s], weight, bias, shape}, c0, c1, function);
    });
  });
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(causal_conv);

void cpu::causal_conv(Context& context, Matrix in, std::span<const SequenceRows> sequences,
                      std::span<float* const> windows, const float* weight, const float* bias, ConvShape shape,
                      Activation activation, Matrix out) {
  HWY_DYNAMIC_DISPATCH(causal_conv)
  (context, in, sequences, windows, weight, bias, shape, activation, out);
}
}  // namespace bamba::backend
#endif
