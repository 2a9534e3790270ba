// Products of few rows at the shapes of Bamba-9B: how near they come to the speed of memory.
#include <cuda_bf16.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/quantized_weight.h"
#include "backend/cuda/skinny.h"
#include "cuda/timing.h"

namespace bamba::bench {
namespace {

using namespace backend::cuda;

constexpr double kRoof = 3.0e12;  // bytes a second of a large copy

/// Random bytes; with bf16, numbers between -1 and 1.
__global__ void fill(uint32_t* words, size_t count, bool bf16) {
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += size_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761U;
    x ^= x >> 16;
    x *= 0x85EBCA6BU;
    x ^= x >> 13;
    words[i] = bf16 ? (x & 0x807F807FU) | 0x3F003F00U : x;
  }
}

struct Free {
  void operator()(void* memory) const { cudaFree(memory); }
};
using Memory = std::unique_ptr<void, Free>;

Memory make(size_t bytes, bool bf16) {
  void* memory = nullptr;
  BAMBA_CUDA_CHECK(cudaMalloc(&memory, bytes + 4));
  fill<<<1024, 256>>>(static_cast<uint32_t*>(memory), bytes / 4 + 1, bf16);
  BAMBA_CUDA_CHECK_LAUNCH();
  return Memory(memory);
}

struct Shape {
  const char* name;
  int64_t in;
  int64_t out;
};
constexpr Shape kShapes[] = {{"in_proj", 4096, 16768}, {"out_proj", 8192, 4096},  {"gate|up", 4096, 28672},
                             {"down", 14336, 4096},    {"lm_head", 4096, 128256}, {"k or v", 4096, 1024}};

struct Weight {
  Memory memory;
  Memory scales;
  DeviceWeight device;
  size_t bytes;
};

Weight make_weight(WeightKind kind, const Shape& shape) {
  Weight weight;
  if (kind == WeightKind::q8 || kind == WeightKind::q4) {
    const WeightFormat format = kind == WeightKind::q8 ? WeightFormat::q8 : WeightFormat::q4;
    weight.bytes = QuantizedLayout(format, shape.out, shape.in).bytes;
    weight.memory = make(weight.bytes, false);
    weight.device = quantized_device_weight(format, shape.out, shape.in, weight.memory.get());
    return weight;
  }
  const int64_t size = kind == WeightKind::f32 ? 4 : kind == WeightKind::bf16 ? 2 : 1;
  weight.bytes = static_cast<size_t>(shape.out * shape.in * size);
  weight.memory = make(weight.bytes, kind != WeightKind::fp8);
  weight.device.kind = kind;
  weight.device.out = shape.out;
  weight.device.in = shape.in;
  weight.device.codes = weight.memory.get();
  weight.device.pitch = shape.in * size;
  if (kind == WeightKind::fp8) {
    weight.scales = make(static_cast<size_t>(shape.out) * 4, true);
    weight.device.row_scales = static_cast<const float*>(weight.scales.get());
  }
  return weight;
}

/// Words of the command line, all of which a case's name has to contain.
std::vector<std::string> wanted;

void run(const char* name, WeightKind kind, const Shape& shape, cudaStream_t stream, const Memory& in,
         const Memory& out, void* workspace) {
  const auto is_wanted = [](const std::string& label) {
    return std::all_of(wanted.begin(), wanted.end(),
                       [&](const std::string& word) { return label.find(word) != std::string::npos; });
  };
  std::vector<Weight> weights;  // made for the first case that is wanted
  const auto make_weights = [&] {
    if (!weights.empty()) return;
    weights.push_back(make_weight(kind, shape));
    // Copies that together outgrow L2 several times.
    const size_t copies = (size_t{256} << 20) / weights[0].bytes + 1;
    while (weights.size() < copies) weights.push_back(make_weight(kind, shape));
  };
  const bool f32 = kind == WeightKind::f32;
  const auto measure = [&](int64_t rows, bool overlap, bool fixed) {
    const std::string label = std::string(name) + " " + shape.name + " rows " + std::to_string(rows) +
                              (overlap ? " early" : "") + (fixed ? " fixed" : "");
    if (!is_wanted(label)) return;
    make_weights();
    SkinnyArguments a;
    a.in = in.get();
    a.in_element = f32 ? Element::f32 : Element::bf16;
    a.in_stride = shape.in;
    a.rows = rows;
    a.out = out.get();
    a.out_element = f32 ? Element::f32 : Element::bf16;
    a.out_stride = shape.out;
    a.workspace = workspace;
    a.overlap_previous = overlap;
    if (fixed) {
      a.fixed_in.high = static_cast<int8_t*>(in.get());
      a.fixed_in.low = a.fixed_in.high + shape.in;
      a.fixed_in.stride = 2 * shape.in;
      a.fixed_in.scales = static_cast<float*>(in.get()) + 8 * shape.in;
      a.fixed_in.scale_stride = shape.in / kFixedGroup;
    }
    const double us = median_microseconds(
        stream,
        [&](cudaStream_t s, int i) {
          a.weight = weights[static_cast<size_t>(i) % weights.size()].device;
          skinny_linear(s, a);
        },
        7, 20);
    const double rate = static_cast<double>(weights[0].bytes) / us * 1e6;
    std::printf("  %-5s %-9s %6ld -> %6ld  rows %2ld%s%s  %8.1f us  %6.0f GB/s  %3.0f %%\n", name, shape.name,
                static_cast<long>(shape.in), static_cast<long>(shape.out), static_cast<long>(rows),
                overlap ? " early" : "      ", fixed ? " fixed" : "      ", us, rate / 1e9, rate / kRoof * 100);
  };
  for (const int64_t rows : {1, 8, 16, 32}) measure(rows, false, false);
  if (!f32) measure(1, true, false);
  if (kind == WeightKind::q8 || kind == WeightKind::q4) {
    for (const int64_t rows : {1, 2, 4}) measure(rows, true, true);
  }
}

}  // namespace
}  // namespace bamba::bench

/// Arguments: words that the names of the cases to run contain, such as q8 in_proj "rows 1" early fixed.
int main(int argc, char** argv) {
  using namespace bamba::bench;
  wanted.assign(argv + 1, argv + argc);
  cudaStream_t stream = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamCreate(&stream));
  const Memory in = make(size_t{32} * 14336 * 4, true);
  const Memory out = make(size_t{32} * 128256 * 4, true);
  void* workspace = nullptr;
  BAMBA_CUDA_CHECK(cudaMalloc(&workspace, skinny_workspace_bytes()));
  BAMBA_CUDA_CHECK(cudaMemset(workspace, 0, skinny_workspace_bytes()));
  BAMBA_CUDA_CHECK(cudaDeviceSynchronize());
  std::printf(
      "bytes of weights a second; 100 %% is %.1f TB/s; early: launched while the one before it runs; "
      "fixed: inputs in 16-bit fixed point\n",
      kRoof / 1e12);
  for (const Shape& shape : kShapes) {
    run("bf16", WeightKind::bf16, shape, stream, in, out, workspace);
    run("fp8", WeightKind::fp8, shape, stream, in, out, workspace);
    run("q8", WeightKind::q8, shape, stream, in, out, workspace);
    run("q4", WeightKind::q4, shape, stream, in, out, workspace);
    if (shape.out <= 16768) run("f32", WeightKind::f32, shape, stream, in, out, workspace);
  }
  BAMBA_CUDA_CHECK(cudaFree(workspace));
  BAMBA_CUDA_CHECK(cudaStreamDestroy(stream));
}
