// What becomes of a skinny product's sums at the end of a tile. Besides adding a bias, or what was there before:
//   gated        the tile is half of one product's outputs and half of another's; activation(first) * second
//   norm         the next norm's weight and the sums of squares that its factor is made of
//   convolution  a step of the causal convolution, with its window in the sequence's state
//
// A lane has four neighbouring outputs of a row, a warp a row's tile.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/fixed_point.cuh"
#include "backend/cuda/scan_elements.cuh"
#include "backend/cuda/skinny_mma.h"
#include "backend/cuda/warp_sum.cuh"

namespace bamba::backend::cuda::skinny {

constexpr int kConvWidth = 4;

/// The factor that a row's norm left to this product; for a whole warp.
__device__ inline float input_factor(const SkinnyParams& p, int row) {
  if (p.in_norm.squares == nullptr) return 1.0f;
  const float* squares = p.in_norm.squares + int64_t{row} * p.in_norm.parts;
  constexpr int kAtOnce = 8;  // under way together
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < p.in_norm.parts; i += 32 * kAtOnce) {
    float part[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) part[k] = i + 32 * k < p.in_norm.parts ? __ldcg(squares + i + 32 * k) : 0.0f;
#pragma unroll
    for (const float each : part) sum += each;
  }
  return 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(p.inputs) + p.in_norm.eps);
}

/// The product that a tile of the launch belongs to.
template <SkinnyEnd kEnd>
__device__ inline const SkinnyPart& part_of(const SkinnyParams& p, int tile) {
  int part = 0;
  // Others are alone in a launch, or known by the half of the tile.
  if constexpr (kEnd == SkinnyEnd::plain) {
#pragma unroll
    for (int i = 1; i < kSkinnyProducts; ++i) {
      if (i < p.n_parts && tile >= p.parts[i].first_tile) part = i;
    }
  }
  return p.parts[part];
}

/// For SkinnyEnd::convolution.
__device__ inline bool is_convolved(const SkinnyParams& p, int tile) {
  const int channel = tile * kSkinnyTile - p.conv.first;
  return channel >= 0 && channel < p.conv.channels;
}

/// What a step of the convolution reads besides the product, for four channels: what all rows share, and a row's.
struct ConvTaps {
  float taps[kConvWidth][4];
  float bias[4];

  __device__ void load(const SkinnyConv& conv, int channel) {
#pragma unroll
    for (int k = 0; k < kConvWidth; ++k) load_vector(conv.weight + k * conv.channels + channel, taps[k]);
    if (conv.bias != nullptr) {
      load_vector(conv.bias + channel, bias);
    } else {
#pragma unroll
      for (float& b : bias) b = 0;
    }
  }
};
struct ConvRow {
  float inputs[kConvWidth - 1][4];  // the newest of the window, oldest first

  __device__ void load(const SkinnyConv& conv, int row, int channel) {
    const float* window = conv.windows[row] + channel;
#pragma unroll
    for (int k = 1; k < kConvWidth; ++k) load_vector(window + k * conv.channels, inputs[k - 1]);
  }
  /// The same sums in the same order as causal_conv()'s.
  __device__ void finish(const SkinnyConv& conv, const ConvTaps& shared, int row, int channel,
                         const float (&v)[4]) const {
    float newest[4];
    float sums[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      newest[i] = __bfloat162float(__float2bfloat16_rn(v[i]));
      sums[i] = shared.bias[i];
#pragma unroll
      for (int k = 0; k < kConvWidth - 1; ++k) sums[i] = fmaf(shared.taps[k][i], inputs[k][i], sums[i]);
      sums[i] = activate<__nv_bfloat16>(fmaf(shared.taps[kConvWidth - 1][i], newest[i], sums[i]), conv.activation);
    }
    float* window = conv.windows[row] + channel;
#pragma unroll
    for (int k = 0; k < kConvWidth - 1; ++k) store_vector(window + k * conv.channels, inputs[k]);
    store_vector(window + (kConvWidth - 1) * conv.channels, newest);
    *reinterpret_cast<uint2*>(conv.out + int64_t{row} * conv.out_stride + channel) =
        make_uint2(pack_bf16(sums[0], sums[1]), pack_bf16(sums[2], sums[3]));
  }
};

/// Brings what the block's convolutions read to L2, `threads` lines at a time.
__device__ inline void prefetch_convolution(const SkinnyParams& p, int first_tile, int last_tile, int thread,
                                            int threads) {
  constexpr int kLines = kSkinnyTile * static_cast<int>(sizeof(float)) / 128;
  constexpr int kOld = kConvWidth - 1;
  for (int tile = first_tile; tile <= last_tile; ++tile) {
    if (!is_convolved(p, tile)) continue;
    const int first_channel = tile * kSkinnyTile - p.conv.first;
    for (int i = thread; i < kLines * (kConvWidth + 1 + kOld * p.rows); i += threads) {
      const int channel = first_channel + i % kLines * 32;
      const int line = i / kLines;
      if (line < kConvWidth) {
        prefetch_line_to_l2(p.conv.weight + line * p.conv.channels + channel);
      } else if (line == kConvWidth) {
        if (p.conv.bias != nullptr) prefetch_line_to_l2(p.conv.bias + channel);
      } else {
        const int old = line - kConvWidth - 1;
        prefetch_line_to_l2(p.conv.windows[old / kOld] + (old % kOld + 1) * p.conv.channels + channel);
      }
    }
  }
}

/// What only some ends have.
template <SkinnyEnd kEnd>
struct EndInputs {};
template <>
struct EndInputs<SkinnyEnd::convolution> {
  ConvRow conv;
};
template <SkinnyEnd kEnd>
struct EndConstants {};
template <>
struct EndConstants<SkinnyEnd::convolution> {
  ConvTaps conv;
};

/// A lane's four outputs of a tile: what all rows share of their end, fetched before it is needed.
template <SkinnyEnd kEnd>
struct TileEnd {
  static constexpr bool kGated = kEnd == SkinnyEnd::gated;
  static constexpr bool kNorm = kEnd == SkinnyEnd::norm;
  static constexpr bool kConvolution = kEnd == SkinnyEnd::convolution;

  const SkinnyParams& p;
  const SkinnyPart& part;
  int tile;
  int output;  // of the part
  int count;   // 4, or what is left up to the last output; 0 or less: none
  float scale[4];
  float bias[4];
  float norm_weight[kNorm ? 4 : 1];
  EndConstants<kEnd> constants;

  /// What a row's outputs take besides their sum.
  struct Before {
    float4 residual;
    EndInputs<kEnd> inputs;
  };

  __device__ TileEnd(const SkinnyParams& params, int tile_, int column)
      : p(params),
        part(kGated ? params.parts[column / kGatedTile] : part_of<kEnd>(params, tile_)),
        tile(tile_),
        output(kGated ? tile_ * kGatedTile + column % kGatedTile : (tile_ - part.first_tile) * kSkinnyTile + column),
        count(min(4, part.outputs - output)) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scale[i] = part.row_scales != nullptr && i < count ? part.row_scales[output + i] : 1.0f;
      bias[i] = part.bias != nullptr && i < count ? part.bias[output + i] : 0.0f;
      if constexpr (kNorm) norm_weight[i] = i < count ? p.norm.weight[output + i] : 0.0f;
    }
    if constexpr (kConvolution) {
      if (is_convolved(p, tile)) constants.conv.load(p.conv, output - p.conv.first);
    }
  }

  /// Zeros where nothing is accumulated.
  __device__ Before before(int row) const {
    Before result;
    float v[4] = {};
    if (part.accumulate) {
      const int64_t at = row * part.out_stride + output;
      if (part.out_is_bf16) {
        const auto* out = static_cast<const __nv_bfloat16*>(part.out) + at;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (i < count) v[i] = __bfloat162float(out[i]);
        }
      } else {
        const auto* out = static_cast<const float*>(part.out) + at;
        if (part.fours && count == 4) {
          load_vector(out, v);
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (i < count) v[i] = out[i];
          }
        }
      }
    }
    result.residual = make_float4(v[0], v[1], v[2], v[3]);
    if constexpr (kConvolution) {
      if (is_convolved(p, tile)) result.inputs.conv.load(p.conv, row, output - p.conv.first);
    }
    return result;
  }

  /// factor: input_factor() of the row.
  __device__ void store(int row, const float4& sum, float factor, const Before& before) const {
    float v[4] = {sum.x, sum.y, sum.z, sum.w};
    const float more[4] = {before.residual.x, before.residual.y, before.residual.z, before.residual.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // Not fused with the addition behind it, whatever the compiler makes of another number of rows.
      v[i] = __fmul_rn(__fmul_rn(v[i], scale[i]), factor);
      if (part.bias != nullptr) v[i] += bias[i];
      if (part.accumulate) v[i] += more[i];
    }
    if constexpr (kConvolution) {
      if (is_convolved(p, tile)) {
        before.inputs.conv.finish(p.conv, constants.conv, row, output - p.conv.first, v);
        return;
      }
    }
    if constexpr (kGated) {
      // The other product's outputs are 16 lanes away.
#pragma unroll
      for (float& each : v) {
        const float up = __shfl_down_sync(0xFFFFFFFFU, each, kGatedTile / 4);
        each = activate<__nv_bfloat16>(each, p.activation) * up;
      }
      constexpr int kLanes = kGatedTile / 4;
      if (threadIdx.x % 32 >= kLanes) return;
      if (p.fixed_out.scales != nullptr) {
        store_fixed(p.fixed_out, row, output, v, (1U << kLanes) - 1);
        return;
      }
    }
    write(row, v);
    if constexpr (kNorm) norm(row, v);
  }

 private:
  __device__ void norm(int row, const float (&v)[4]) const {
    float squares = 0;
    if (count == 4) {
      float weighted[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        squares = fmaf(v[i], v[i], squares);
        weighted[i] = v[i] * norm_weight[i];
      }
      if (p.fixed_out.scales != nullptr) {
        store_fixed(p.fixed_out, row, output, weighted);  // whole tiles: all lanes are here
      } else {
        *reinterpret_cast<uint2*>(p.norm.out + row * p.norm.out_stride + output) =
            make_uint2(pack_bf16(weighted[0], weighted[1]), pack_bf16(weighted[2], weighted[3]));
      }
    }
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) p.norm.squares[row * p.plan.tiles + tile] = squares;
  }

  __device__ void write(int row, const float (&v)[4]) const {
    const int64_t at = row * part.out_stride + output;
    if (part.out_is_bf16) {
      auto* out = static_cast<__nv_bfloat16*>(part.out) + at;
      if (part.fours && count == 4) {
        *reinterpret_cast<uint2*>(out) = make_uint2(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
        return;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) out[i] = __float2bfloat16_rn(v[i]);
      }
    } else {
      auto* out = static_cast<float*>(part.out) + at;
      if (part.fours && count == 4) {
        store_vector(out, v);
        return;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) out[i] = v[i];
      }
    }
  }
};

}  // namespace bamba::backend::cuda::skinny
