// Times operations with events that the stream passes between them.
#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "backend/backend.h"
#include "backend/cuda/launch_queue.h"

namespace bamba::backend::cuda {

/// While there is a timer the queue uses no graphs: an event is recorded once, a graph would record the same again.
class CudaOperationTimer final : public OperationTimer {
 public:
  explicit CudaOperationTimer(LaunchQueue& queue);
  ~CudaOperationTimer() override;
  CudaOperationTimer(const CudaOperationTimer&) = delete;
  CudaOperationTimer& operator=(const CudaOperationTimer&) = delete;

  void begin() override;
  void end() override;
  void collect(std::vector<double>& seconds) override;
  void forget() override { ended_ = 0; }

 private:
  void push_record(size_t event);

  LaunchQueue& queue_;
  std::vector<cudaEvent_t> events_;  // of operation i: 2 i before it, 2 i + 1 after it
  size_t ended_ = 0;
  uint64_t flushes_at_begin_ = 0;
};

}  // namespace bamba::backend::cuda
