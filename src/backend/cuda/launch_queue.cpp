#include "backend/cuda/launch_queue.h"

#include <algorithm>

#include "backend/cuda/check.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

constexpr size_t round_up(size_t n, size_t unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace

LaunchQueue::LaunchQueue(cudaStream_t stream, void* staging)
    : stream_(stream), device_staging_(static_cast<std::byte*>(staging)) {
  for (size_t i = 0; i < kHostBlocks; ++i) {
    void* memory = nullptr;
    BAMBA_CUDA_CHECK(cudaMallocHost(&memory, kStagingBytes));
    host_staging_[i] = static_cast<std::byte*>(memory);
    BAMBA_CUDA_CHECK(cudaEventCreateWithFlags(&copied_[i], cudaEventDisableTiming));
  }
}

LaunchQueue::~LaunchQueue() {
  cudaStreamSynchronize(stream_);
  for (Graph& graph : graphs_) {
    if (graph.executable != nullptr) cudaGraphExecDestroy(graph.executable);
  }
  for (size_t i = 0; i < kHostBlocks; ++i) {
    cudaEventDestroy(copied_[i]);
    cudaFreeHost(host_staging_[i]);
  }
}

std::byte* LaunchQueue::append(Launch launch, Caller caller, size_t bytes) {
  const size_t first = list_.size();
  list_.resize(first + sizeof(Header) + round_up(bytes, kAlign));  // zeros behind the arguments
  const Header header{launch, caller, bytes};
  std::memcpy(list_.data() + first, &header, sizeof(header));
  ++operations_;
  return list_.data() + first + sizeof(Header);
}

void LaunchQueue::make_room(size_t bytes, size_t lists) {
  // Not where operations are timed one by one: the host's work would be in the time of the next.
  const bool begins = idle_ && use_graphs_ && operations_ >= kFirstOperations;
  if (begins || staged_ + bytes + lists * kAlign > kStagingBytes) flush();
}

void* LaunchQueue::stage_bytes(const void* data, size_t bytes) {
  for (const Staged& each : recent_) {
    if (each.bytes == bytes && std::memcmp(host_staging_[block_] + each.offset, data, bytes) == 0) {
      return device_staging_ + each.offset;
    }
  }
  const size_t room = round_up(std::max<size_t>(bytes, 1), kAlign);
  if (staged_ + room > kStagingBytes) {
    fail(ErrorCode::out_of_memory, "a pass has lists of ", staged_ + room, " bytes; a GPU backend holds ",
         kStagingBytes, " (fewer tokens in a pass need less)");
  }
  // The block's last copy has to be done before its memory is written again.
  if (staged_ == 0) BAMBA_CUDA_CHECK(cudaEventSynchronize(copied_[block_]));
  if (bytes > 0) std::memcpy(host_staging_[block_] + staged_, data, bytes);
  if (recent_.size() == kRecent) recent_.erase(recent_.begin());
  recent_.push_back({staged_, bytes});
  staged_ += room;
  return device_staging_ + recent_.back().offset;
}

void LaunchQueue::flush() {
  ++flushes_;
  idle_ = false;
  if (staged_ > 0) {
    BAMBA_CUDA_CHECK(cudaMemcpyAsync(device_staging_, host_staging_[block_], staged_, cudaMemcpyHostToDevice, stream_));
    BAMBA_CUDA_CHECK(cudaEventRecord(copied_[block_], stream_));
    block_ = (block_ + 1) % kHostBlocks;
    staged_ = 0;
    recent_.clear();
  }
  const auto forget = [&] {
    list_.clear();
    operations_ = 0;
  };
  try {
    if (operations_ > 0) run_list();
  } catch (...) {  // what could not be launched is not tried again with the next pass
    forget();
    throw;
  }
  forget();
}

void LaunchQueue::wait() {
  BAMBA_CUDA_CHECK(cudaStreamSynchronize(stream_));
  idle_ = true;
}

void LaunchQueue::finish() {
  flush();
  wait();
}

void LaunchQueue::launch_all() {
  for (size_t at = 0; at < list_.size();) {
    Header header;
    std::memcpy(&header, list_.data() + at, sizeof(header));
    header.caller(stream_, header.launch, list_.data() + at + sizeof(Header));
    at += sizeof(Header) + round_up(header.bytes, kAlign);
  }
}

void LaunchQueue::run_list() {
  if (operations_ < kLeastOperations || !use_graphs_) {
    launch_all();
    return;
  }
  const auto known =
      std::find_if(graphs_.begin(), graphs_.end(), [&](const Graph& graph) { return graph.list == list_; });
  if (known == graphs_.end()) {
    if (graphs_.size() == kMostGraphs) {
      const auto oldest = std::min_element(graphs_.begin(), graphs_.end(),
                                           [](const Graph& a, const Graph& b) { return a.last_use < b.last_use; });
      if (oldest->executable != nullptr) BAMBA_CUDA_CHECK(cudaGraphExecDestroy(oldest->executable));
      graphs_.erase(oldest);
    }
    graphs_.push_back({list_, nullptr, ++clock_});
    launch_all();
    return;
  }
  known->last_use = ++clock_;
  if (known->executable == nullptr) {
    cudaGraph_t graph = nullptr;
    BAMBA_CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    try {
      launch_all();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      throw;
    }
    BAMBA_CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
    const cudaError_t made = cudaGraphInstantiate(&known->executable, graph, 0);
    cudaGraphDestroy(graph);
    check(made, "cudaGraphInstantiate");
  }
  BAMBA_CUDA_CHECK(cudaGraphLaunch(known->executable, stream_));
}

}  // namespace bamba::backend::cuda
