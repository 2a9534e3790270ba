// Products of many rows at the shapes of Bamba-9B, and the unpacking of quantized weights that goes before them.
#include <memory>

#include "backend/cuda/cublas_gemm.h"
#include "backend/cuda/quantized_rows.h"
#include "backend/cuda/quantized_weight.h"
#include "cuda/timing.h"

namespace bamba::bench {
namespace {

using namespace backend::cuda;

constexpr double kFlopsRoof = 750e12;
constexpr double kBytesRoof = 3.0e12;

/// Numbers of magnitude 1/2 to 1 in bf16; as f32 and as e4m3 they are in range as well.
__global__ void fill(uint32_t* words, size_t count) {
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += size_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761U;
    x ^= x >> 16;
    x *= 0x85EBCA6BU;
    x ^= x >> 13;
    words[i] = (x & 0x807F807FU) | 0x3F003F00U;
  }
}

struct Free {
  void operator()(void* memory) const { cudaFree(memory); }
};
using Memory = std::unique_ptr<void, Free>;

Memory make(size_t bytes) {
  void* memory = nullptr;
  BAMBA_CUDA_CHECK(cudaMalloc(&memory, bytes + 4));
  fill<<<1024, 256>>>(static_cast<uint32_t*>(memory), bytes / 4 + 1);
  BAMBA_CUDA_CHECK_LAUNCH();
  return Memory(memory);
}

struct Shape {
  const char* name;
  int64_t in;
  int64_t out;
};
constexpr Shape kShapes[] = {
    {"in_proj", 4096, 16768}, {"out_proj", 8192, 4096}, {"gate|up", 4096, 28672}, {"down", 14336, 4096}};

}  // namespace
}  // namespace bamba::bench

int main() {
  using namespace bamba::bench;
  cudaStream_t stream = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamCreate(&stream));
  const Memory in = make(size_t{8192} * 14336 * 4);
  const Memory weight = make(size_t{28672} * 4096 * 4);
  const Memory out = make(size_t{8192} * 28672 * 4);
  const Memory scales = make(size_t{1} << 20);
  const Memory workspace = make(CublasGemm::kWorkspaceBytes);
  CublasGemm free_choice(workspace.get(), CublasGemm::kWorkspaceBytes);
  CublasGemm one_plan(workspace.get(), CublasGemm::kWorkspaceBytes, {.plan_rows = 2048});
  BAMBA_CUDA_CHECK(cudaDeviceSynchronize());

  std::printf("share of %.0f TFLOP/s; one plan: the algorithm for 2048 rows serves all numbers of rows\n",
              kFlopsRoof / 1e12);
  const auto measure = [&](const char* name, CublasGemm& gemm, const Shape& shape, GemmType type, Element element,
                           bool accumulate, int64_t rows) {
    GemmArguments a;
    a.type = type;
    a.in = in.get();
    a.weight = weight.get();
    a.out = out.get();
    a.in_stride = a.weight_stride = a.inputs = shape.in;
    a.outputs = a.out_stride = shape.out;
    a.rows = rows;
    a.out_element = element;
    a.accumulate = accumulate;
    a.in_scales = a.weight_scales = static_cast<const float*>(scales.get());
    a.vector_scales = type == GemmType::fp8;
    if (!gemm.supports(a)) {
      std::printf("  %-18s %-9s rows %5ld  not supported\n", name, shape.name, static_cast<long>(rows));
      return;
    }
    const double us = median_microseconds(
        stream, [&](cudaStream_t s, int) { gemm.run(s, a); }, 3, 3);
    const double rate =
        2.0 * static_cast<double>(rows) * static_cast<double>(shape.in) * static_cast<double>(shape.out) / us * 1e6;
    std::printf("  %-18s %-9s rows %5ld  %9.1f us  %6.1f TFLOP/s  %3.0f %%\n", name, shape.name,
                static_cast<long>(rows), us, rate / 1e12, rate / kFlopsRoof * 100);
  };
  for (const Shape& shape : kShapes) {
    for (const int64_t rows : {64, 128, 512, 2048, 8192}) {
      measure("bf16 -> bf16", free_choice, shape, GemmType::bf16, Element::bf16, false, rows);
      measure("  one plan", one_plan, shape, GemmType::bf16, Element::bf16, false, rows);
    }
    measure("bf16 -> f32 +=", free_choice, shape, GemmType::bf16, Element::f32, true, 2048);
    measure("fp8 rows -> bf16", free_choice, shape, GemmType::fp8, Element::bf16, false, 2048);
    measure("fp8 rows -> bf16", free_choice, shape, GemmType::fp8, Element::bf16, false, 8192);
    measure("f32", free_choice, shape, GemmType::f32, Element::f32, false, 512);
  }

  std::printf("weights to bf16 [28672, 4096]; bytes read and written, share of %.1f TB/s\n", kBytesRoof / 1e12);
  constexpr int64_t kOut = 28672;
  constexpr int64_t kIn = 4096;
  for (const WeightKind kind : {WeightKind::fp8, WeightKind::q8, WeightKind::q4}) {
    WeightRowsArguments a;
    double bytes = 0;
    if (kind == WeightKind::fp8) {
      a.weight = {kind, kOut, kIn, weight.get(), kIn, nullptr, static_cast<const float*>(scales.get()), nullptr};
      bytes = double{kOut} * kIn;
    } else {
      const auto format = kind == WeightKind::q8 ? bamba::WeightFormat::q8 : bamba::WeightFormat::q4;
      a.weight = quantized_device_weight(format, kOut, kIn, weight.get());
      bytes = static_cast<double>(QuantizedLayout(format, kOut, kIn).bytes);
    }
    a.rows = kOut;
    a.out = out.get();
    a.out_stride = kIn;
    const double us = median_microseconds(
        stream, [&](cudaStream_t s, int) { weight_rows(s, a); }, 5, 10);
    const double rate = (bytes + 2.0 * kOut * kIn) / us * 1e6;
    std::printf("  %-4s  %7.1f us  %6.0f GB/s  %3.0f %%\n",
                kind == WeightKind::fp8  ? "fp8"
                : kind == WeightKind::q8 ? "q8"
                                         : "q4",
                us, rate / 1e9, rate / kBytesRoof * 100);
  }
  BAMBA_CUDA_CHECK(cudaStreamDestroy(stream));
}
