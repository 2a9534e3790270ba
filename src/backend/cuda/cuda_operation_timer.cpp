#include "backend/cuda/cuda_operation_timer.h"

#include "backend/cuda/check.h"

namespace bamba::backend::cuda {
namespace {

struct RecordArguments {
  cudaEvent_t event;
};
void record(cudaStream_t stream, const RecordArguments& arguments) {
  BAMBA_CUDA_CHECK(cudaEventRecord(arguments.event, stream));
}

}  // namespace

CudaOperationTimer::CudaOperationTimer(LaunchQueue& queue) : queue_(queue) {
  queue_.use_graphs(false);
}

CudaOperationTimer::~CudaOperationTimer() {
  // Queued records are of events that go now.
  try {
    queue_.finish();
  } catch (const std::exception&) {  // the queue has dropped them
  }
  queue_.use_graphs(true);
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
}

void CudaOperationTimer::push_record(size_t event) {
  while (events_.size() <= event) {
    cudaEvent_t made = nullptr;
    BAMBA_CUDA_CHECK(cudaEventCreate(&made));
    events_.push_back(made);
  }
  queue_.push(&record, RecordArguments{events_[event]});
}

void CudaOperationTimer::begin() {
  push_record(2 * ended_);
  flushes_at_begin_ = queue_.flushes();
}

void CudaOperationTimer::end() {
  push_record(2 * ended_ + 1);
  ++ended_;
  // An operation that went to the stream at once ends there at once too, and not with the next pass.
  if (queue_.flushes() != flushes_at_begin_) queue_.flush();
}

void CudaOperationTimer::collect(std::vector<double>& seconds) {
  queue_.finish();
  for (size_t i = 0; i < ended_; ++i) {
    float milliseconds = 0;
    BAMBA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events_[2 * i], events_[2 * i + 1]));
    seconds.push_back(milliseconds * 1e-3);
  }
  ended_ = 0;
}

}  // namespace bamba::backend::cuda
