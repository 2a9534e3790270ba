#include "backend/cuda/conv.h"

#include <algorithm>

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/scan_elements.cuh"

namespace bamba::backend::cuda {
namespace {

// 96 threads of 8 bf16 channels: 11 blocks make the 8448 channels of the 9B shape without a remainder.
constexpr int kThreads = 96;
// Tokens of one thread: the inputs before a tile are read twice, so 3 rows in 16, from L2.
constexpr int kTileRows = 16;
// Rows loaded before the first is used.
constexpr int kAhead = 4;

template <typename T, int kVector, bool kSilu>
__device__ __forceinline__ void finish(const ConvArguments<T>& args, float (&sum)[kVector], T* target) {
#pragma unroll
  for (int v = 0; v < kVector; ++v) sum[v] = kSilu ? silu<T>(sum[v]) : activate<T>(sum[v], args.activation);
  store_vector(target, sum);
}

/// Channels [c, c + kVector) of one sequence. Only the thread of the sequence's first tile reads the window (a tile has
/// at least width - 1 rows), so it may also bring it up to date, after its reads.
template <typename T, int kVector>
struct ConvColumn {
  const T* in;
  int64_t in_stride;
  float* window;
  int64_t channels;
  int64_t width;

  /// Input of token t relative to the pass's first; t < 0 reaches back into the window.
  __device__ __forceinline__ void load(int64_t t, float (&out)[kVector]) const {
    if (t < 0) {
      load_vector(window + (width + t) * channels, out);
    } else {
      load_vector(in + t * in_stride, out);
    }
  }
  /// The window now ends with the newest input. kWidth > 0: all rows are read before any is written, in one wait.
  template <int kWidth>
  __device__ __forceinline__ void move_window(int64_t count) const {
    if constexpr (kWidth > 0) {
      float values[kWidth][kVector];
#pragma unroll
      for (int k = 0; k < kWidth; ++k) load(count - kWidth + k, values[k]);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) store_vector(window + k * channels, values[k]);
    } else {
      // Rows move towards the front, oldest first, so each is read before it is overwritten.
      for (int64_t k = 0; k < width; ++k) {
        float values[kVector];
        load(count - width + k, values);
        store_vector(window + k * channels, values);
      }
    }
  }
};

/// Tokens [t0, t1) with the taps and the last kWidth - 1 inputs in registers.
template <typename T, int kVector, int kWidth, bool kSilu>
__device__ __forceinline__ void slide(const ConvArguments<T>& args, const ConvColumn<T, kVector>& column, int64_t t0,
                                      int64_t t1, int64_t c, T* out) {
  float taps[kWidth][kVector];
  float bias[kVector] = {};
  float inputs[kWidth - 1 + kAhead][kVector];
#pragma unroll
  for (int k = 0; k < kWidth; ++k) load_vector(args.weight + k * column.channels + c, taps[k]);
  if (args.bias != nullptr) load_vector(args.bias + c, bias);
#pragma unroll
  for (int k = 0; k < kWidth - 1; ++k) column.load(t0 - (kWidth - 1) + k, inputs[k]);
  for (int64_t t = t0; t < t1; t += kAhead) {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (t + u < t1) load_vector(column.in + (t + u) * column.in_stride, inputs[kWidth - 1 + u]);
    }
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      if (t + u >= t1) break;
      float sum[kVector];
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        sum[v] = bias[v];
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum[v] = fmaf(taps[k][v], inputs[u + k][v], sum[v]);
      }
      finish<T, kVector, kSilu>(args, sum, out + (t + u) * args.out_stride);
    }
#pragma unroll
    for (int k = 0; k < kWidth - 1; ++k) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) inputs[k][v] = inputs[kAhead + k][v];
    }
  }
}

/// kWidth 0: any width, everything from memory each time.
template <typename T, int kVector, int kWidth, bool kSilu>
__global__ __launch_bounds__(kThreads) void conv_kernel(const ConvArguments<T> args, int channel_blocks,
                                                        TileNumbering numbering) {
  let_next_begin();
  const int64_t number = blockIdx.x / channel_blocks;
  const int64_t c = (static_cast<int64_t>(blockIdx.x % channel_blocks) * kThreads + threadIdx.x) * kVector;
  if (args.max_count == 1 && c < args.shape.channels) {
    const float* window = args.windows[number] + c;  // lists are copied in front of all kernels of a pass
    for (int64_t k = 0; k < args.shape.width; ++k) {
      prefetch_line_to_l2(args.weight + k * args.shape.channels + c);
      prefetch_line_to_l2(window + k * args.shape.channels);
    }
  }
  wait_for_previous();
  const Tile tile =
      args.max_count == 1 ? Tile{number, 0} : find_tile(args.sequences, args.n_sequences, numbering, number);
  if (tile.index < 0 || c >= args.shape.channels) return;
  const SequenceRows rows = args.sequences[tile.sequence];
  float* window = args.windows[tile.sequence];
  const int64_t t0 = tile.index * numbering.rows;
  if (t0 >= rows.count) return;
  const int64_t t1 = t0 + numbering.rows < rows.count ? t0 + numbering.rows : rows.count;
  const ConvColumn<T, kVector> column{args.in + rows.first * args.in_stride + c, args.in_stride, window + c,
                                      args.shape.channels, args.shape.width};
  T* out = args.out + rows.first * args.out_stride + c;
  if constexpr (kWidth > 0) {
    slide<T, kVector, kWidth, kSilu>(args, column, t0, t1, c, out);
  } else {
    for (int64_t t = t0; t < t1; ++t) {
      float sum[kVector] = {};
      if (args.bias != nullptr) load_vector(args.bias + c, sum);
      for (int64_t k = 0; k < column.width; ++k) {
        float tap[kVector];
        float input[kVector];
        load_vector(args.weight + k * column.channels + c, tap);
        column.load(t - column.width + 1 + k, input);
#pragma unroll
        for (int v = 0; v < kVector; ++v) sum[v] = fmaf(tap[v], input[v], sum[v]);
      }
      finish<T, kVector, kSilu>(args, sum, out + t * args.out_stride);
    }
  }
  if (tile.index == 0) column.template move_window<kWidth>(rows.count);
}

template <typename T, int kVector, int kWidth>
void launch(cudaStream_t stream, const ConvArguments<T>& args) {
  const int64_t channel_blocks = (args.shape.channels + kThreads * kVector - 1) / (kThreads * kVector);
  const TileNumbering numbering{static_cast<int>(std::max<int64_t>(kTileRows, args.shape.width - 1)), 1};
  const int64_t tiles = args.max_count == 1 ? args.n_sequences : numbering.total(args.rows, args.n_sequences);
  const auto grid = static_cast<unsigned>(tiles * channel_blocks);
  if (args.activation == Activation::silu) {
    launch_early(stream, conv_kernel<T, kVector, kWidth, true>, grid, kThreads, 0, args,
                 static_cast<int>(channel_blocks), numbering);
  } else {
    launch_early(stream, conv_kernel<T, kVector, kWidth, false>, grid, kThreads, 0, args,
                 static_cast<int>(channel_blocks), numbering);
  }
}

bool aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

}  // namespace

template <typename T>
void causal_conv(cudaStream_t stream, const ConvArguments<T>& args) {
  if (args.n_sequences == 0 || args.max_count == 0 || args.shape.channels == 0) return;
  constexpr int kVector = kFullVector<T>;
  const bool vectors = args.shape.channels % kVector == 0 && args.in_stride % kVector == 0 &&
                       args.out_stride % kVector == 0 && aligned(args.in) && aligned(args.out) &&
                       aligned(args.weight) && aligned(args.bias);
  if (vectors && args.shape.width == 4) {
    launch<T, kVector, 4>(stream, args);
  } else if (args.shape.width == 4) {
    launch<T, 1, 4>(stream, args);
  } else {
    launch<T, 1, 0>(stream, args);
  }
}

template void causal_conv(cudaStream_t, const ConvArguments<float>&);
template void causal_conv(cudaStream_t, const ConvArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
