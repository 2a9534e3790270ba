// Products with packed weights; see tile-inl.h for the order of sums.
#include "backend/cpu/linear.h"

#include <algorithm>

#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::CpuLinearWeight;
using cpu::kPanel;
using cpu::Scratch;

// A block of a panel, widened to f32 once and then used for all rows: 256 x 64 floats are 64 KiB, half of an L2 that
// is small by today's measure, and the widening costs 1 / rows of the product.
constexpr int64_t kDepthBlock = 256;
// Rows whose partial sums (64 floats each) stay in L2 meanwhile.
constexpr int64_t kRowBlock = 256;
// Up to this many rows read the 16-bit weights directly, and widen them anew for each tile of rows: that overlaps with
// the multiply-adds and with the memory, which widening a block in advance does not.
constexpr int64_t kDirectRows = 48;

template <typename W>
void panel_product(const float* x, int64_t x_stride, int64_t rows, const W* panel, int64_t depth, float* sums,
                   float* widened) {
  if (rows <= kTileRows) {
    multiply(x, x_stride, rows, panel, kPanel, kPanel, depth, sums, kPanel, false);
    return;
  }
  if (std::is_same_v<W, float> || rows <= kDirectRows) {
    // Blocks of k that all tiles of rows find in the cache.
    for (int64_t k0 = 0; k0 < depth; k0 += kDepthBlock) {
      multiply(x + k0, x_stride, rows, panel + k0 * kPanel, kPanel, kPanel, std::min(kDepthBlock, depth - k0), sums,
               kPanel, k0 > 0);
    }
    return;
  }
  for (int64_t k0 = 0; k0 < depth; k0 += kDepthBlock) {
    const int64_t block = std::min(kDepthBlock, depth - k0);
    for (int64_t i = 0; i < block * kPanel; i += kLanes) {
      hn::Store(load_weight(panel + k0 * kPanel + i), F32(), widened + i);
    }
    multiply(x + k0, x_stride, rows, widened, kPanel, kPanel, block, sums, kPanel, k0 > 0);
  }
}

template <typename W>
void linear_of(cpu::Context& context, Matrix in, const CpuLinearWeight& weight, const float* bias, bool accumulate,
               Matrix out) {
  const W* data = reinterpret_cast<const W*>(weight.data());
  const int64_t depth = weight.in_features();
  const int64_t row_blocks = (in.rows + kRowBlock - 1) / kRowBlock;
  const int64_t work = in.rows * depth * weight.out_features();
  context.parallel(weight.panels() * row_blocks, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    // Row blocks of one panel follow each other, so that the panel is still in the cache for the next block.
    const int64_t panel = task / row_blocks;
    const int64_t row0 = task % row_blocks * kRowBlock;
    const int64_t rows = std::min(kRowBlock, in.rows - row0);
    float* sums = scratch.floats((kRowBlock + kDepthBlock) * kPanel);
    float* widened = sums + kRowBlock * kPanel;
    panel_product(in.data + row0 * in.stride, in.stride, rows, data + panel * depth * kPanel, depth, sums, widened);

    const int64_t col0 = panel * kPanel;
    const int64_t cols = std::min(kPanel, out.cols - col0);
    for (int64_t r = 0; r < rows; ++r) {
      float* target = out.data + (row0 + r) * out.stride + col0;
      for (int64_t c = 0; c < cols; c += kLanes) {
        auto value = hn::Load(F32(), sums + r * kPanel + c);
        if (bias != nullptr) value = hn::Add(value, load_n(bias + col0 + c, cols - c));
        if (accumulate) value = hn::Add(load_n(target + c, cols - c), value);
        store_n(value, target + c, cols - c);
      }
    }
  });
}

void linear(cpu::Context& context, Matrix in, const CpuLinearWeight& weight, const float* bias, bool accumulate,
            Matrix out) {
  switch (weight.format()) {
    case WeightFormat::f32:
      linear_of<float>(context, in, weight, bias, accumulate, out);
      break;
    case WeightFormat::bf16:
      linear_of<hwy::bfloat16_t>(context, in, weight, bias, accumulate, out);
      break;
    case WeightFormat::f16:
      linear_of<hwy::float16_t>(context, in, weight, bias, accumulate, out);
      break;
  }
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(linear);

void cpu::linear(Context& context, Matrix in, const CpuLinearWeight& weight, const float* bias, bool accumulate,
                 Matrix out) {
  HWY_DYNAMIC_DISPATCH(backend::linear)(context, in, weight, bias, accumulate, out);
}
}  // namespace bamba::backend
#endif
