// A linear layer's weight as the GPU kernels read it.
#pragma once

#include <cstdint>

namespace bamba::backend::cuda {

enum class WeightKind { f32, bf16, fp8, q8, q4 };

/// Inputs (columns) that share one scale of an fp8 weight with block scales; outputs (rows) likewise.
constexpr int64_t kFp8Block = 128;

/// Weight [out, in] in device memory; output o has its bytes at codes + o * pitch.
///
///   f32, bf16  the values, in order of inputs.
///   fp8        e4m3 bytes in order of inputs. weight = code * row_scales[o], or code * block_scales[o / 128, k / 128]
///              (then row_scales is null). A scale for the whole tensor is repeated for every output. The 0x7F and 0xFF
///              (NaN) codes must not occur: they read as +-480.
///   q8, q4     as laid out by quantized_weight.h. weight = level * group scale * row_scales[o].
///
/// Fast kernels need codes aligned to 16 bytes and a pitch that is a multiple of 16; others take any.
struct DeviceWeight {
  WeightKind kind = WeightKind::f32;
  int64_t out = 0;
  int64_t in = 0;
  const void* codes = nullptr;
  int64_t pitch = 0;                     ///< bytes
  const int8_t* group_scales = nullptr;  ///< q8, q4; aligned to 16
  const float* row_scales = nullptr;     ///< q8, q4, fp8: [out]
  const float* block_scales = nullptr;   ///< fp8: [ceil(out / 128), ceil(in / 128)]
};

}  // namespace bamba::backend::cuda
