// Products with packed weights; see tile-inl.h for the order of sums.
#include "backend/cpu/linear.h"

#include <algorithm>

#include "backend/cpu/bf16_rows.h"
#include "backend/cpu/quantized.h"
#include "backend/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "backend/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bamba::backend::HWY_NAMESPACE {

using cpu::cpu_weight;
using cpu::CpuLinearWeight;
using cpu::kPanel;
using cpu::Scratch;

// A block of a panel, widened to f32 once and then used for all rows: 256 x 64 floats are 64 KiB, half of an L2 that
// is small by today's measure, and the widening costs 1 / rows of the product.
constexpr int64_t kDepthBlock = 256;
// Rows whose partial sums (64 floats each) stay in L2 meanwhile.
constexpr int64_t kRowBlock = 256;
// Rows rounded to bf16 that stay in cache while the panels pass by: with 4096 inputs 2 MiB, an L2 where there is AMX.
constexpr int64_t kBf16RowBlock = 256;
// Bytes between rounded rows, which else lie a power of two apart where a layer has so many inputs: in the same few
// places of the L1, which holds no more than 8 to 12 of them.
constexpr int64_t kRowPadding = 64;
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
void float_panel(const CpuLinearWeight& weight, int64_t panel, Matrix in, int64_t row0, int64_t rows, float* sums,
                 float* widened) {
  const int64_t depth = weight.in_features();
  const W* data = reinterpret_cast<const W*>(weight.data()) + panel * depth * kPanel;
  panel_product(in.data + row0 * in.stride, in.stride, rows, data, depth, sums, widened);
}

/// What a call's tasks share: the activations, as they are and as the quantized formats want them.
struct Inputs {
  Matrix in;
  const cpu::QuantizedKernels* kernels = nullptr;
  cpu::QuantizedRows q8 = {};
  cpu::QuantizedRows q4 = {};
  const cpu::Bf16Kernels* bf16_kernels = nullptr;
  cpu::Bf16Rows bf16 = {};
  Matrix in_for_bf16 = {};  ///< without bf16_kernels
};

/// sums[r, o] for 64 outputs: [rows, 64].
void panel_sums(const CpuLinearWeight& weight, int64_t panel, const Inputs& inputs, int64_t row0, int64_t rows,
                float* sums, float* widened) {
  switch (weight.format()) {
    case WeightFormat::f32:
      float_panel<float>(weight, panel, inputs.in, row0, rows, sums, widened);
      break;
    case WeightFormat::bf16:
      if (inputs.bf16_kernels != nullptr) {
        const auto* data = reinterpret_cast<const uint16_t*>(weight.data()) + panel * weight.in_features() * kPanel;
        inputs.bf16_kernels->panel(data, weight.in_features(), inputs.bf16, row0, rows, sums);
      } else {
        float_panel<hwy::bfloat16_t>(weight, panel, inputs.in_for_bf16, row0, rows, sums, widened);
      }
      break;
    case WeightFormat::f16:
      float_panel<hwy::float16_t>(weight, panel, inputs.in, row0, rows, sums, widened);
      break;
    case WeightFormat::q8:
    case WeightFormat::q4:
      inputs.kernels->panel(weight.format(), weight.data() + static_cast<size_t>(panel) * weight.panel_bytes(),
                            weight.format() == WeightFormat::q8 ? inputs.q8 : inputs.q4, row0, rows, sums);
      break;
    case WeightFormat::fp8:  // held as bf16
      break;
  }
}

/// Adds what belongs to the sums and stores them.
void store_panel(const LinearOp& op, int64_t panel, int64_t row0, int64_t rows, const float* sums) {
  const int64_t col0 = panel * kPanel;
  const int64_t cols = std::min(kPanel, op.out.cols - col0);
  for (int64_t r = 0; r < rows; ++r) {
    float* target = op.out.data + (row0 + r) * op.out.stride + col0;
    for (int64_t c = 0; c < cols; c += kLanes) {
      auto value = hn::Load(F32(), sums + r * kPanel + c);
      if (op.bias != nullptr) value = hn::Add(value, load_n(op.bias + col0 + c, cols - c));
      if (op.accumulate) value = hn::Add(load_n(target + c, cols - c), value);
      store_n(value, target + c, cols - c);
    }
  }
}

/// A row rounded to bf16, as the upper halves of floats: into `halves` with zeros up to `padded`, or else `floats`.
void round_row(const float* x, int64_t cols, int64_t padded, uint16_t* halves, float* floats) {
  const hn::RebindToUnsigned<F32> du;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint16_t, F32> dh;
  for (int64_t i = 0; i < padded; i += kLanes) {
    const auto value = i < cols ? load_n(x + i, cols - i) : hn::Zero(F32());
    const auto bits = hn::BitCast(du, value);
    const auto last = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto nearest = hn::ShiftRight<16>(hn::Add(bits, hn::Add(last, hn::Set(du, 0x7FFF))));
    // A NaN keeps its sign and stays one whatever its low bits.
    const auto nan = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40));
    const auto is_nan = hn::RebindMask(du, hn::IsNaN(value));
    const auto rounded = hn::IfThenElse(is_nan, nan, nearest);
    if (halves != nullptr) {
      hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, rounded)), dh, halves + i);
    } else {
      store_n(hn::BitCast(F32(), hn::ShiftLeft<16>(rounded)), floats + i, cols - i);
    }
  }
}

/// The activations rounded for the formats among `ops`, in the context's shared memory.
Inputs make_inputs(cpu::Context& context, Matrix in, std::span<const LinearOp> ops) {
  Inputs inputs;
  inputs.in = in;
  inputs.in_for_bf16 = in;
  bool any_q8 = false;
  bool any_q4 = false;
  bool any_bf16 = false;
  for (const LinearOp& op : ops) {
    any_q8 = any_q8 || op.weight->format() == WeightFormat::q8;
    any_q4 = any_q4 || op.weight->format() == WeightFormat::q4;
    any_bf16 = any_bf16 || op.weight->format() == WeightFormat::bf16;
  }
  any_bf16 = any_bf16 && context.activations == ActivationFormat::bf16;
  if (!any_q8 && !any_q4 && !any_bf16) return inputs;
  if (any_q8 || any_q4) inputs.kernels = &cpu::quantized_kernels();
#if HWY_TARGET == HWY_AVX3
  if (any_bf16) inputs.bf16_kernels = cpu::bf16_kernels();
#endif
  constexpr int64_t kFloatBytes = 4;
  int64_t floats = 0;
  const auto reserve = [&](WeightFormat format, cpu::QuantizedRows& rows) {
    const int64_t group = group_size(format);
    rows.groups = (in.cols + group - 1) / group;
    rows.code_stride = rows.groups * group * inputs.kernels->code_bytes + kRowPadding;
    const int64_t first = floats;
    floats += in.rows * (rows.code_stride / kFloatBytes + 2 * rows.groups);
    return first;
  };
  const int64_t q8_at = any_q8 ? reserve(WeightFormat::q8, inputs.q8) : 0;
  const int64_t q4_at = any_q4 ? reserve(WeightFormat::q4, inputs.q4) : 0;
  const int64_t bf16_at = floats;
  const int64_t padded = (in.cols + cpu::kBf16Unit - 1) / cpu::kBf16Unit * cpu::kBf16Unit;
  if (any_bf16) floats += in.rows * (inputs.bf16_kernels != nullptr ? padded / 2 : padded);
  float* memory = context.shared.floats(floats);
  const auto place = [&](cpu::QuantizedRows& rows, int64_t at) {
    rows.codes = reinterpret_cast<std::byte*>(memory + at);
    rows.scales = memory + at + in.rows * rows.code_stride / kFloatBytes;
    rows.corrections = reinterpret_cast<int32_t*>(rows.scales + in.rows * rows.groups);
  };
  place(inputs.q8, q8_at);
  place(inputs.q4, q4_at);
  if (inputs.bf16_kernels != nullptr) {
    inputs.bf16 = {reinterpret_cast<uint16_t*>(memory + bf16_at), padded};
  } else if (any_bf16) {
    inputs.in_for_bf16 = {memory + bf16_at, in.rows, in.cols, padded};
  }
  constexpr int64_t kWorkOfElement = 16;  // half a nanosecond and more
  context.parallel(in.rows, in.rows * in.cols * kWorkOfElement, [&](int64_t r, Scratch&) HWY_ATTR {
    const float* row = in.data + r * in.stride;
    if (any_q8) inputs.kernels->quantize_row(row, in.cols, group_size(WeightFormat::q8), inputs.q8, r);
    if (any_q4) inputs.kernels->quantize_row(row, in.cols, group_size(WeightFormat::q4), inputs.q4, r);
    if (inputs.bf16.data != nullptr) {
      round_row(row, in.cols, padded, inputs.bf16.data + r * padded, nullptr);
    } else if (any_bf16) {
      round_row(row, in.cols, in.cols, nullptr, memory + bf16_at + r * padded);
    }
  });
  return inputs;
}

void linear(cpu::Context& context, Matrix in, std::span<const LinearOp> ops) {
  const Inputs inputs = make_inputs(context, in, ops);
  const bool rounded = inputs.kernels != nullptr || inputs.bf16_kernels != nullptr;
  const int64_t row_block = inputs.bf16_kernels != nullptr ? kBf16RowBlock
                            : rounded                      ? inputs.kernels->row_block
                                                           : kRowBlock;
  const int64_t row_blocks = (in.rows + row_block - 1) / row_block;
  int64_t panels = 0;
  int64_t work = 0;
  for (const LinearOp& op : ops) {
    panels += cpu_weight(*op.weight).panels();
    work += in.rows * in.cols * op.weight->out_features();
  }
  context.parallel(panels * row_blocks, work, [&](int64_t task, Scratch& scratch) HWY_ATTR {
    // Rows in floats: row blocks of one panel follow each other, so that the panel is still in the cache for the next
    // block. Rounded rows: a block of them stays in L2 for all panels, and the small weights come from memory again.
    int64_t panel = rounded ? task % panels : task / row_blocks;
    const int64_t row0 = (rounded ? task / panels : task % row_blocks) * row_block;
    const LinearOp* op = ops.data();
    for (; panel >= cpu_weight(*op->weight).panels(); ++op) panel -= cpu_weight(*op->weight).panels();
    const int64_t rows = std::min(row_block, in.rows - row0);
    float* sums = scratch.floats((kRowBlock + kDepthBlock) * kPanel);
    panel_sums(cpu_weight(*op->weight), panel, inputs, row0, rows, sums, sums + kRowBlock * kPanel);
    store_panel(*op, panel, row0, rows, sums);
  });
}

}  // namespace bamba::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bamba::backend {
HWY_EXPORT(linear);

void cpu::linear(Context& context, Matrix in, std::span<const LinearOp> ops) {
  HWY_DYNAMIC_DISPATCH(linear)(context, in, ops);
}
}  // namespace bamba::backend
#endif
