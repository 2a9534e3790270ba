// How operations of the backend fill their kernels' arguments, and bring lists (sequences, pointers) to the device.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "backend/cuda/cuda_context.h"

namespace bamba::backend::cuda {

/// Arguments whose padding is zero too: the queue compares them byte by byte.
template <typename Arguments>
Arguments blank() {
  Arguments arguments;
  std::memset(static_cast<void*>(&arguments), 0, sizeof(arguments));
  return arguments;
}

template <typename T>
T* as(float* data) {
  return reinterpret_cast<T*>(data);
}

/// Calls body with a value of the matrix's element type.
template <typename Body>
void with_element(Element element, Body body) {
  if (element == Element::f32) {
    body(float());
  } else {
    body(__nv_bfloat16());
  }
}

inline int64_t most_new_tokens(std::span<const SequenceRows> sequences) {
  int64_t most = 0;
  for (const SequenceRows& rows : sequences) most = std::max(most, rows.count);
  return most;
}

/// Stages what operations pushed from now on read.
class OperationLists {
 public:
  explicit OperationLists(CudaContext& context) : queue_(context.queue) {}

  /// Device copy of a list; make_room() comes first.
  template <typename Value>
  std::remove_const_t<Value>* stage(std::span<Value> values) {
    using Plain = std::remove_const_t<Value>;
    return queue_.stage(std::span<const Plain>(values.data(), values.size()));
  }
  template <typename Value>
  Value* stage_list(const std::vector<Value>& values) {
    return queue_.stage(std::span<const Value>(values));
  }
  /// For `bytes` more than what an operation stages for each sequence.
  void make_room(size_t sequences, size_t bytes = 0) {
    constexpr size_t kLists = 8;
    queue_.make_room(sequences * (sizeof(SequenceRows) + 2 * sizeof(float*)) + bytes, kLists);
  }

 private:
  LaunchQueue& queue_;
};

}  // namespace bamba::backend::cuda
