#include "backend/cuda/cuda_roof.h"

#include <algorithm>
#include <random>
#include <vector>

#include "backend/cuda/check.h"

namespace bamba::backend::cuda {
namespace {

class Event {
 public:
  Event() { BAMBA_CUDA_CHECK(cudaEventCreate(&event_)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Median seconds of one body(), each measured over some.
template <typename Body>
double median_seconds(cudaStream_t stream, Body body) {
  const Event begin;
  const Event end;
  std::vector<double> times;
  constexpr int kCalls = 5;
  body();
  for (int sample = 0; sample < 7; ++sample) {
    BAMBA_CUDA_CHECK(cudaEventRecord(begin, stream));
    for (int i = 0; i < kCalls; ++i) body();
    BAMBA_CUDA_CHECK(cudaEventRecord(end, stream));
    BAMBA_CUDA_CHECK(cudaEventSynchronize(end));
    float milliseconds = 0;
    BAMBA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
    times.push_back(milliseconds * 1e-3 / kCalls);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/// Operations a second of a square product of random numbers: with zeros the GPU would draw less power and run faster.
double product_rate(CudaContext& context, GemmType type, int64_t n) {
  const size_t element = type == GemmType::f32 ? 4 : 2;
  const auto count = static_cast<size_t>(n * n);
  const Buffer in = context.take(count * element);
  const Buffer weight = context.take(count * element);
  const Buffer out = context.take(count * element);
  std::mt19937 random(1);
  std::vector<uint32_t> bits(count * element / 4);
  for (const Buffer* target : {&in, &weight}) {
    // Random signs and mantissas, exponents of numbers between 0.5 and 2: as f32 and as pairs of bf16.
    for (uint32_t& word : bits) {
      word = type == GemmType::f32 ? (random() & 0x80FFFFFFU) | 0x3F000000U : (random() & 0x80FF80FFU) | 0x3F003F00U;
    }
    BAMBA_CUDA_CHECK(
        cudaMemcpyAsync(target->floats(), bits.data(), count * element, cudaMemcpyHostToDevice, context.stream));
    BAMBA_CUDA_CHECK(cudaStreamSynchronize(context.stream));
  }
  GemmArguments arguments;
  arguments.type = type;
  arguments.in = in.floats();
  arguments.weight = weight.floats();
  arguments.out = out.floats();
  arguments.out_element = type == GemmType::f32 ? Element::f32 : Element::bf16;
  arguments.rows = arguments.outputs = arguments.inputs = n;
  arguments.in_stride = arguments.weight_stride = arguments.out_stride = n;
  const double seconds = median_seconds(context.stream, [&] { context.gemm.run(context.stream, arguments); });
  return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds;
}

double copy_rate(CudaContext& context) {
  constexpr size_t kBytes = size_t{512} << 20;
  const Buffer from = context.take(kBytes);
  const Buffer to = context.take(kBytes);
  BAMBA_CUDA_CHECK(cudaMemsetAsync(from.floats(), 1, kBytes, context.stream));
  const double seconds = median_seconds(context.stream, [&] {
    BAMBA_CUDA_CHECK(cudaMemcpyAsync(to.floats(), from.floats(), kBytes, cudaMemcpyDeviceToDevice, context.stream));
  });
  return 2.0 * static_cast<double>(kBytes) / seconds;
}

}  // namespace

MachineRoof measure_cuda_roof(CudaContext& context) {
  context.queue.finish();
  MachineRoof roof{};
  roof.read_bytes_per_second = copy_rate(context);
  roof.f32_flops_per_second = product_rate(context, GemmType::f32, 4096);
  roof.bf16_flops_per_second = product_rate(context, GemmType::bf16, 8192);
  return roof;
}

}  // namespace bamba::backend::cuda
