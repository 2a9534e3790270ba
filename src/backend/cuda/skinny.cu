#include "backend/cuda/skinny.h"

#include <algorithm>
#include <limits>

#include "backend/cuda/check.h"
#include "backend/cuda/skinny_mma.h"
#include "backend/cuda/skinny_plain.h"
#include "backend/cuda/tensor_map.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

int multiprocessors() {
  int device = 0;
  int count = 0;
  BAMBA_CUDA_CHECK(cudaGetDevice(&device));
  BAMBA_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

constexpr int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

/// Bytes of a row's codes up to its last input; whole groups for q8 and q4.
int64_t row_bytes(const DeviceWeight& weight) {
  switch (weight.kind) {
    case WeightKind::f32:
      return weight.in * 4;
    case WeightKind::bf16:
      return weight.in * 2;
    case WeightKind::fp8:
      return weight.in;
    default:
      return weight.pitch;
  }
}

/// Groups of scales of a row, padding included.
int64_t groups_of(const DeviceWeight& weight) {
  return divide_up(weight.in, 64) * (weight.kind == WeightKind::q4 ? 2 : 1);
}

SkinnyPart part_of(const SkinnyArguments& a, int64_t first_tile, int tile_outputs) {
  SkinnyPart part{};
  part.codes = tensor_map(TensorMapShape{.data = a.weight.codes,
                                         .cols = row_bytes(a.weight),
                                         .rows = a.weight.out,
                                         .row_bytes = a.weight.pitch,
                                         .box_cols = kStageRowBytes,
                                         .box_rows = tile_outputs,
                                         .bf16 = false,
                                         .swizzle = true});
  if (const int groups = stage_groups(a.weight.kind); groups > 0) {
    const int64_t pitch = divide_up(a.weight.out, kSkinnyTile) * kSkinnyTile;
    part.group_scales = tensor_map(TensorMapShape{.data = a.weight.group_scales,
                                                  .cols = pitch,
                                                  .rows = groups_of(a.weight),
                                                  .row_bytes = pitch,
                                                  .box_cols = tile_outputs,
                                                  .box_rows = groups,
                                                  .bf16 = false,
                                                  .swizzle = false});
  }
  part.row_scales = a.weight.row_scales;
  part.block_scales = a.weight.block_scales;
  part.bias = a.bias;
  part.out = a.out;
  part.out_stride = a.out_stride;
  part.outputs = static_cast<int>(a.weight.out);
  part.first_tile = static_cast<int>(first_tile);
  part.out_is_bf16 = a.out_element == Element::bf16;
  part.accumulate = a.accumulate;
  part.fours = a.out_stride % 4 == 0 && reinterpret_cast<uintptr_t>(a.out) % (part.out_is_bf16 ? 8 : 16) == 0;
  return part;
}

/// The products of one launch.
SkinnyParams params_of(const SkinnyArguments* products, int count, bool gated, Activation activation) {
  const SkinnyArguments& a = products[0];
  SkinnyParams p{};
  int64_t tiles = 0;
  for (int i = 0; i < count; ++i) {
    if (gated) {
      p.parts[i] = part_of(products[i], 0, kGatedTile);
      tiles = divide_up(products[i].weight.out, kGatedTile);
    } else {
      p.parts[i] = part_of(products[i], tiles, kSkinnyTile);
      tiles += skinny_tiles(products[i].weight.out);
    }
  }
  if (tiles > std::numeric_limits<int>::max()) fail(ErrorCode::invalid_argument, "weights too large for one product");
  p.n_parts = count;
  p.inputs = static_cast<int>(a.weight.in);
  p.end = gated                       ? SkinnyEnd::gated
          : a.norm.weight != nullptr  ? SkinnyEnd::norm
          : a.conv.windows != nullptr ? SkinnyEnd::convolution
                                      : SkinnyEnd::plain;
  const bool joins = p.end != SkinnyEnd::plain || a.in_norm.squares != nullptr;
  if (joins && (a.rows > kJoinedRows || a.exact)) {
    fail(ErrorCode::internal, "a product of ", a.rows, " rows", a.exact ? ", exact," : "",
         " with a norm, a convolution or a gate");
  }
  p.activation = activation;
  p.in_norm = a.in_norm;
  p.norm = a.norm;
  p.conv = a.conv;
  p.plan = plan_skinny(tiles, a.weight.in, stage_inputs(a.weight.kind), multiprocessors());
  p.fixed = a.fixed_in.scales != nullptr;
  p.fixed_out = a.fixed_out;
  if (p.fixed) {
    p.in = reinterpret_cast<const unsigned char*>(a.fixed_in.high);
    p.in_stride_bytes = a.fixed_in.stride;
    p.in_half_bytes = a.fixed_in.low - a.fixed_in.high;
    p.in_scales = reinterpret_cast<const unsigned char*>(a.fixed_in.scales);
    p.in_scale_stride_bytes = a.fixed_in.scale_stride * static_cast<int64_t>(sizeof(float));
  } else {
    p.in = static_cast<const unsigned char*>(a.in);
    p.in_stride_bytes = a.in_stride * 2;
  }
  if (a.rows > kFedRows) {
    p.in_boxes = tensor_map(TensorMapShape{.data = a.in,
                                           .cols = a.weight.in,
                                           .rows = a.rows,
                                           .row_bytes = a.in_stride * 2,
                                           .box_cols = kBoxInputs,
                                           .box_rows = skinny_row_room(a.rows),
                                           .bf16 = true,
                                           .swizzle = true});
  }
  p.rows = static_cast<int>(a.rows);
  p.early = a.overlap_previous;
  p.exact = a.exact;
  p.partials = static_cast<float*>(a.workspace);
  return p;
}

void launch_mma(cudaStream_t stream, WeightKind kind, const SkinnyParams& params) {
  switch (kind) {
    case WeightKind::bf16:
      return skinny_mma_bf16(stream, params);
    case WeightKind::fp8:
      return skinny_mma_fp8(stream, params);
    case WeightKind::q8:
      return skinny_mma_q8(stream, params);
    default:
      return skinny_mma_q4(stream, params);
  }
}

}  // namespace

size_t skinny_workspace_bytes() {
  return static_cast<size_t>(multiprocessors()) * kSkinnyRows * kSkinnyTile * sizeof(float);
}

SkinnyPlan plan_skinny(int64_t tiles, int64_t in, int64_t chunk_inputs, int multiprocessors) {
  const int64_t chunks = divide_up(in, chunk_inputs);
  if (tiles * chunks > std::numeric_limits<int>::max() / 2) {
    fail(ErrorCode::invalid_argument, tiles * kSkinnyTile, " outputs of ", in, " inputs are too many for one product");
  }
  // Whole tiles for each block where that keeps nearly all multiprocessors busy to the end: nothing to add up then.
  // Otherwise equal runs of units, wherever they begin; not so short that adding up takes longer than computing.
  constexpr int64_t kFewestUnits = 2;
  const int64_t whole = divide_up(tiles, multiprocessors);
  const bool even = tiles * 100 >= whole * multiprocessors * 97;
  const int64_t per_block =
      even ? whole * chunks : std::max(divide_up(tiles * chunks, multiprocessors), std::min(chunks, kFewestUnits));
  return {static_cast<int>(tiles), static_cast<int>(chunks), static_cast<int>(per_block),
          static_cast<int>(divide_up(tiles * chunks, per_block))};
}

bool skinny_is_fast(const SkinnyArguments& a) {
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  constexpr int64_t kLargest = std::numeric_limits<int>::max() / 4;
  const FixedRows& fixed = a.fixed_in;
  const bool quantized = a.weight.kind == WeightKind::q8 || a.weight.kind == WeightKind::q4;
  const bool inputs = fixed.scales != nullptr
                          ? quantized && a.rows <= kFixedRows && a.weight.in % kFixedBoxInputs == 0 &&
                                aligned(fixed.high) && fixed.low > fixed.high && (fixed.low - fixed.high) % 16 == 0 &&
                                fixed.stride % 16 == 0 && aligned(fixed.scales) && fixed.scale_stride % 4 == 0
                          : aligned(a.in) && a.in_stride % 8 == 0;
  return a.in_element == Element::bf16 && a.rows <= kSkinnyRows && a.weight.kind != WeightKind::f32 &&
         a.workspace != nullptr && inputs && a.weight.in % 8 == 0 && aligned(a.weight.codes) &&
         a.weight.pitch % 16 == 0 && row_bytes(a.weight) % 16 == 0 && aligned(a.weight.group_scales) &&
         a.weight.in <= kLargest && a.weight.out <= kLargest;
}

void skinny_linear(cudaStream_t stream, const SkinnyArguments& a) {
  if (a.rows == 0 || a.weight.out == 0) return;
  if (a.weight.in == 0) fail(ErrorCode::invalid_argument, "a product without inputs");
  if (!skinny_is_fast(a)) {
    if (a.in_norm.squares != nullptr || a.fixed_in.scales != nullptr || a.norm.weight != nullptr ||
        a.conv.windows != nullptr) {
      fail(ErrorCode::internal, "a norm, a convolution or fixed point in a product without tensor cores");
    }
    return skinny_plain(stream, a);
  }
  launch_mma(stream, a.weight.kind, params_of(&a, 1, false, Activation::silu));
}

bool skinny_share(const SkinnyArguments& a, const SkinnyArguments& b) {
  return skinny_is_fast(a) && skinny_is_fast(b) && a.in == b.in && a.in_stride == b.in_stride && a.rows == b.rows &&
         a.workspace == b.workspace && a.exact == b.exact && a.overlap_previous == b.overlap_previous &&
         a.weight.in == b.weight.in && a.in_norm.squares == b.in_norm.squares &&
         a.fixed_in.scales == b.fixed_in.scales && a.norm.weight == nullptr && b.norm.weight == nullptr &&
         a.conv.windows == nullptr && b.conv.windows == nullptr && a.weight.kind == b.weight.kind &&
         (a.weight.block_scales == nullptr) == (b.weight.block_scales == nullptr);
}

void skinny_linears(cudaStream_t stream, const SkinnyList& list) {
  if (list.count < 1 || list.count > kSkinnyProducts) {
    fail(ErrorCode::internal, "a list of ", list.count, " products; one launch takes 1 to ", kSkinnyProducts);
  }
  for (int i = 0; i < list.count; ++i) {
    if (!skinny_share(list.products[0], list.products[i]) || list.products[i].weight.out == 0) {
      fail(ErrorCode::internal, "product ", i, " of a list does not share a launch with the first");
    }
  }
  const SkinnyArguments& first = list.products[0];
  if (list.gated && (list.count != 2 || first.weight.out != list.products[1].weight.out || first.accumulate ||
                     list.products[1].accumulate || first.weight.block_scales != nullptr)) {
    fail(ErrorCode::internal, "these products cannot gate each other");
  }
  if (first.rows == 0) return;
  if (first.weight.in == 0) fail(ErrorCode::invalid_argument, "a product without inputs");
  launch_mma(stream, first.weight.kind, params_of(list.products, list.count, list.gated, list.activation));
}

}  // namespace bamba::backend::cuda
