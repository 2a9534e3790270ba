// The launches of a pass, collected and then run together: as a CUDA graph when the same pass was seen before.
//
// An operation is a function and its arguments by value. What changes from step to step (token ids, positions, lists of
// states and pages) is not in the arguments but staged: it goes to one block of device memory, at the same place in
// each pass of the same shape, with one copy in front. So two decoding steps of equally many sequences make equal
// lists, and the second runs as one graph launch, whose cost on the host does not grow with the number of operations.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

namespace bamba::backend::cuda {

class LaunchQueue {
 public:
  static constexpr size_t kStagingBytes = size_t{16} << 20;

  /// staging: kStagingBytes of device memory that outlive the queue.
  LaunchQueue(cudaStream_t stream, void* staging);
  ~LaunchQueue();
  LaunchQueue(const LaunchQueue&) = delete;
  LaunchQueue& operator=(const LaunchQueue&) = delete;

  /// Queues launch(stream, arguments). It must only enqueue work on the stream.
  template <typename Arguments>
  void push(void (*launch)(cudaStream_t, const Arguments&), const Arguments& arguments) {
    static_assert(std::is_trivially_copyable_v<Arguments> && alignof(Arguments) <= kAlign);
    std::byte* place = append(reinterpret_cast<void (*)()>(launch), &call<Arguments>, sizeof(Arguments));
    std::memcpy(place, &arguments, sizeof(Arguments));
  }

  /// Device copies of values that operations pushed after it, and before the next flush, read. Equal values that follow
  /// each other closely share a place.
  template <typename Value>
  Value* stage(std::span<const Value> values) {
    static_assert(std::is_trivially_copyable_v<Value>);
    return static_cast<Value*>(stage_bytes(values.data(), values.size_bytes()));
  }
  /// Flushes unless `lists` lists of `bytes` together can be staged now; and where the stream has nothing to do, so
  /// that it begins with the first operations of a pass while the others are collected. To be called before an
  /// operation stages its first: a flush between would drop it.
  void make_room(size_t bytes, size_t lists);

  /// Hands all queued work to the stream.
  void flush();
  /// Waits until the stream has done what it was handed.
  void wait();
  /// Flushes and waits.
  void finish();

  /// Runs every pass launch by launch, also those that were seen before.
  void use_graphs(bool use) { use_graphs_ = use; }
  /// How often queued work went to the stream: when that grew, what was pushed before is no longer queued.
  uint64_t flushes() const { return flushes_; }
  cudaStream_t stream() const { return stream_; }

 private:
  static constexpr size_t kAlign = 16;
  static constexpr size_t kHostBlocks = 4;
  /// Lists that a new one is compared with: an attention layer's, that the next one will have again.
  static constexpr size_t kRecent = 8;
  static constexpr size_t kMostGraphs = 64;
  /// Fewer operations are not worth a graph.
  static constexpr size_t kLeastOperations = 16;
  /// Operations that keep the stream busy while the rest of a pass is collected.
  static constexpr size_t kFirstOperations = 12;

  using Launch = void (*)();
  using Caller = void (*)(cudaStream_t, Launch, const std::byte*);
  struct Header {
    Launch launch;
    Caller caller;
    size_t bytes;  // of the arguments
  };
  struct Graph {
    std::vector<std::byte> list;
    cudaGraphExec_t executable = nullptr;  // null: seen once
    uint64_t last_use = 0;
  };

  template <typename Arguments>
  static void call(cudaStream_t stream, Launch launch, const std::byte* bytes) {
    Arguments arguments;
    std::memcpy(static_cast<void*>(&arguments), bytes, sizeof(Arguments));
    reinterpret_cast<void (*)(cudaStream_t, const Arguments&)>(launch)(stream, arguments);
  }

  struct Staged {
    size_t offset;
    size_t bytes;
  };

  std::byte* append(Launch launch, Caller caller, size_t bytes);
  void* stage_bytes(const void* data, size_t bytes);
  void run_list();
  void launch_all();

  cudaStream_t stream_;
  std::byte* device_staging_;
  std::byte* host_staging_[kHostBlocks] = {};
  cudaEvent_t copied_[kHostBlocks] = {};
  size_t block_ = 0;
  size_t staged_ = 0;
  std::vector<Staged> recent_;
  std::vector<std::byte> list_;
  size_t operations_ = 0;
  std::vector<Graph> graphs_;
  uint64_t clock_ = 0;
  bool use_graphs_ = true;
  uint64_t flushes_ = 0;
  bool idle_ = false;  // the stream, since wait()
};

}  // namespace bamba::backend::cuda
