#include "backend/cuda/rope.h"

#include "backend/cuda/early_launch.cuh"
#include "backend/cuda/elementwise_pack.cuh"
#include "backend/cuda/kv_pages_layout.cuh"

namespace bamba::backend::cuda {
namespace {

constexpr int kThreads = 128;

/// Turns the pairs (first[i], second[i]).
template <int kCount>
__device__ void turn(float (&first)[kCount], float (&second)[kCount], const float* cosines, const float* sines) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float a = first[i];
    const float b = second[i];
    first[i] = fmaf(-b, sines[i], a * cosines[i]);
    second[i] = fmaf(a, sines[i], b * cosines[i]);
  }
}

/// A block per row. Its work is cut into units of kCount dims (of kCount pairs where dims turn), numbered: the turning
/// ones of the queries, then those of the keys, then the keys' other dims, then the values.
template <typename Element, typename PageElement, int kCount>
__global__ __launch_bounds__(kThreads) void rope_kernel(RopeArguments<Element> a) {
  let_next_begin();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int sequence = a.row_sequence == nullptr ? 0 : a.row_sequence[row];
  if (sequence < 0) return;
  const bool append = a.sequences.pages != nullptr;
  int64_t position = row;
  if (append || a.by_position) {
    const SequenceRows rows = a.sequences.sequences[sequence];
    position = rows.start + row - rows.first;
  }
  const PageLayout<PageElement> layout(a.shape);
  const int head_dim = layout.head_dim;
  const int half = static_cast<int>(a.shape.rotary_dim) / 2;
  const float* cosines = a.cos_sin + (a.by_position ? position : row) * a.shape.rotary_dim;
  const float* sines = cosines + half;

  const int turning = half / kCount;
  const int staying = append ? (head_dim - 2 * half) / kCount : 0;
  const int query_units = a.queries == nullptr ? 0 : static_cast<int>(a.shape.n_heads) * turning;
  const int turned_units = query_units + layout.n_kv_heads * turning;
  const int key_units = turned_units + layout.n_kv_heads * staying;
  const int units = key_units + (append ? layout.n_kv_heads * (head_dim / kCount) : 0);

  PageElement* page =
      append ? page_elements<PageElement>(a.sequences.pages[sequence][position / kPageTokens]) : nullptr;
  const int token = static_cast<int>(position % kPageTokens);
  const auto store_key = [&](int head, int e, const float(&numbers)[kCount]) {
    if (append) {
      store_floats(numbers, page + layout.keys(head) + layout.place(token, e));
    } else {
      store_floats(numbers, a.keys + row * a.key_stride + head * head_dim + e);
    }
  };

  for (int unit = threadIdx.x; unit < units; unit += kThreads) {
    float first[kCount];
    float second[kCount];
    if (unit < turned_units) {
      const bool is_query = unit < query_units;
      const int index = is_query ? unit : unit - query_units;
      const int head = index / turning;
      const int j = index % turning * kCount;
      Element* source =
          is_query ? a.queries + row * a.query_stride + head * head_dim : a.keys + row * a.key_stride + head * head_dim;
      load_floats(source + j, first);
      load_floats(source + half + j, second);
      turn(first, second, cosines + j, sines + j);
      if (is_query) {
        store_floats(first, source + j);
        store_floats(second, source + half + j);
      } else {
        store_key(head, j, first);
        store_key(head, half + j, second);
      }
    } else if (unit < key_units) {
      const int head = (unit - turned_units) / staying;
      const int e = 2 * half + (unit - turned_units) % staying * kCount;
      load_floats(a.keys + row * a.key_stride + head * head_dim + e, first);
      store_key(head, e, first);
    } else {
      const int head = (unit - key_units) / (head_dim / kCount);
      const int e = (unit - key_units) % (head_dim / kCount) * kCount;
      load_floats(a.values + row * a.value_stride + head * head_dim + e, first);
      store_floats(first, page + layout.values(head) + layout.place(token, e));
    }
  }
}

}  // namespace

template <typename Element>
void rope(cudaStream_t stream, const RopeArguments<Element>& a) {
  constexpr int kCount = 8;
  if (a.rows == 0) return;
  const bool append = a.sequences.pages != nullptr;
  const bool whole_units = a.shape.head_dim % kCount == 0 && a.shape.rotary_dim % (2 * kCount) == 0;
  const bool aligned = rows_aligned(a.keys, a.key_stride, kCount) &&
                       (a.queries == nullptr || rows_aligned(a.queries, a.query_stride, kCount)) &&
                       (!append || rows_aligned(a.values, a.value_stride, kCount));
  const auto blocks = static_cast<unsigned>(a.rows);
  with_page_element(a.shape.kv, [&]<typename PageElement>(PageElement) {
    if (whole_units && aligned) {
      launch_early(stream, rope_kernel<Element, PageElement, kCount>, blocks, kThreads, 0, a);
    } else {
      launch_early(stream, rope_kernel<Element, PageElement, 1>, blocks, kThreads, 0, a);
    }
  });
}

template void rope(cudaStream_t, const RopeArguments<float>&);
template void rope(cudaStream_t, const RopeArguments<__nv_bfloat16>&);

}  // namespace bamba::backend::cuda
