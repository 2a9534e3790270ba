#include <bamba/error.h>

#include <array>
#include <cstring>

#include "backend/cuda/cublas_gemm.h"
#include "backend/cuda/fp8_rows.h"
#include "cuda/skinny_weights.h"

namespace bamba::backend::cuda {
namespace {

using testing::bf16;
using testing::DeviceVector;

std::vector<__nv_bfloat16> rounded(const std::vector<float>& values) {
  std::vector<__nv_bfloat16> out;
  for (const float v : values) out.push_back(bf16(v));
  return out;
}
template <typename T>
std::vector<double> exact(const std::vector<T>& values) {
  std::vector<double> out;
  for (const T v : values) out.push_back(static_cast<double>(static_cast<float>(v)));
  return out;
}

struct Gemm {
  Gemm() : workspace(CublasGemm::kWorkspaceBytes), library(workspace.data(), workspace.size()) {}
  DeviceVector<uint8_t> workspace;
  CublasGemm library;
};

template <typename In, typename Out>
void check_product(Gemm& gemm, int64_t rows, int64_t outputs, int64_t inputs, bool accumulate, bool with_bias,
                   std::mt19937& engine) {
  SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(outputs) + " x " + std::to_string(inputs));
  const std::vector<float> source = testing::normals(engine, static_cast<size_t>(rows * inputs));
  const std::vector<float> weights = testing::normals(engine, static_cast<size_t>(outputs * inputs));
  const std::vector<float> bias = testing::normals(engine, static_cast<size_t>(outputs));
  constexpr bool kNarrowIn = sizeof(In) == 2;
  constexpr bool kNarrowOut = sizeof(Out) == 2;
  const int64_t in_stride = inputs + 8;
  const int64_t out_stride = outputs + 8;
  std::vector<In> in(static_cast<size_t>(rows * in_stride));
  std::memset(static_cast<void*>(in.data()), 0xFF, in.size() * sizeof(In));
  std::vector<In> weight(weights.size());
  std::vector<In> dense(source.size());
  if constexpr (kNarrowIn) {
    dense = rounded(source);
    weight = rounded(weights);
  } else {
    dense = source;
    weight = weights;
  }
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(in.data() + r * in_stride, dense.data() + r * inputs, static_cast<size_t>(inputs) * sizeof(In));
  }
  std::vector<Out> before(static_cast<size_t>(rows * out_stride), Out(3.0f));
  const DeviceVector<In> device_in(in);
  const DeviceVector<In> device_weight(weight);
  const DeviceVector<float> device_bias(bias);
  DeviceVector<Out> out(before);
  if (!accumulate) BAMBA_CUDA_CHECK(cudaMemset(out.data(), 0xFF, out.size() * sizeof(Out)));
  GemmArguments a;
  a.type = kNarrowIn ? GemmType::bf16 : GemmType::f32;
  a.in = device_in.data();
  a.in_stride = in_stride;
  a.rows = rows;
  a.weight = device_weight.data();
  a.weight_stride = inputs;
  a.outputs = outputs;
  a.inputs = inputs;
  a.out = out.data();
  a.out_element = kNarrowOut ? Element::bf16 : Element::f32;
  a.out_stride = out_stride;
  a.bias = with_bias ? device_bias.data() : nullptr;
  a.accumulate = accumulate;
  gemm.library.run(nullptr, a);
  const std::vector<Out> got = out.host();
  const testing::Reference reference = testing::multiply(exact(dense), rows, exact(weight), outputs, inputs);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < outputs; ++o) {
      const auto at = static_cast<size_t>(r * outputs + o);
      const double product = reference.result[at] + (accumulate ? 3.0 : 0.0);
      const double expected = product + (with_bias ? static_cast<double>(bias[static_cast<size_t>(o)]) : 0.0);
      double allowed = testing::tolerance(reference.magnitude[at] + 3, expected, inputs, a.out_element);
      if (with_bias && kNarrowOut) allowed += std::abs(product) * 0x1p-8;  // rounded before the bias, too
      ASSERT_NEAR(static_cast<double>(static_cast<float>(got[static_cast<size_t>(r * out_stride + o)])), expected,
                  allowed)
          << r << ", " << o;
    }
  }
}

TEST(CudaGemm, MatchesTheReference) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(9);
  Gemm gemm;
  for (const auto& [rows, outputs, inputs] :
       {std::array<int64_t, 3>{1, 8, 16}, {33, 72, 200}, {100, 328, 512}, {257, 256, 1024}, {7, 13, 37}}) {
    check_product<__nv_bfloat16, __nv_bfloat16>(gemm, rows, outputs, inputs, false, false, engine);
    check_product<__nv_bfloat16, __nv_bfloat16>(gemm, rows, outputs, inputs, false, true, engine);
    check_product<__nv_bfloat16, float>(gemm, rows, outputs, inputs, true, true, engine);
    check_product<float, float>(gemm, rows, outputs, inputs, false, false, engine);
    check_product<float, float>(gemm, rows, outputs, inputs, true, true, engine);
  }
  EXPECT_EQ(gemm.library.plans(), 5U * 4U);
}

TEST(CudaGemm, F32IsNotTf32) {
  BAMBA_SKIP_WITHOUT_GPU();
  constexpr int64_t kSize = 128;
  // TF32 would drop the last bit of 1 + 2^-12.
  const DeviceVector<float> in(std::vector<float>(kSize * kSize, 1 + 0x1p-12f));
  const DeviceVector<float> weight(std::vector<float>(kSize * kSize, 1.0f));
  DeviceVector<float> out(kSize * kSize);
  Gemm gemm;
  GemmArguments a;
  a.type = GemmType::f32;
  a.in = in.data();
  a.weight = weight.data();
  a.out = out.data();
  a.in_stride = a.weight_stride = a.out_stride = a.rows = a.outputs = a.inputs = kSize;
  a.out_element = Element::f32;
  gemm.library.run(nullptr, a);
  for (const float v : out.host()) ASSERT_EQ(v, kSize * (1 + 0x1p-12f));
}

TEST(CudaGemm, Fp8ScalesByTensorAndByRow) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(10);
  constexpr int64_t kRows = 48;
  constexpr int64_t kOut = 160;
  constexpr int64_t kIn = 512;
  std::vector<uint8_t> codes(kRows * kIn);
  std::vector<uint8_t> weight_codes(kOut * kIn);
  std::vector<float> scales(kRows);
  std::vector<float> weight_scales(kOut);
  fp8_quantize_rows(testing::normals(engine, kRows * kIn).data(), kRows, kIn, codes.data(), scales.data());
  fp8_quantize_rows(testing::normals(engine, kOut * kIn).data(), kOut, kIn, weight_codes.data(), weight_scales.data());
  std::vector<double> in;
  std::vector<double> weight;
  for (const uint8_t c : codes) in.push_back(static_cast<double>(from_e4m3(c)));
  for (const uint8_t c : weight_codes) weight.push_back(static_cast<double>(from_e4m3(c)));
  const testing::Reference reference = testing::multiply(in, kRows, weight, kOut, kIn);
  const DeviceVector<uint8_t> device_in(codes);
  const DeviceVector<uint8_t> device_weight(weight_codes);
  const DeviceVector<float> device_scales(scales);
  const DeviceVector<float> device_weight_scales(weight_scales);
  DeviceVector<float> out(kRows * kOut);
  Gemm gemm;
  GemmArguments a;
  a.type = GemmType::fp8;
  a.in = device_in.data();
  a.weight = device_weight.data();
  a.in_stride = a.weight_stride = a.inputs = kIn;
  a.rows = kRows;
  a.outputs = a.out_stride = kOut;
  a.out = out.data();
  a.in_scales = device_scales.data();
  a.weight_scales = device_weight_scales.data();
  for (const bool by_row : {false, true}) {
    for (const Element element : {Element::f32, Element::bf16}) {
      SCOPED_TRACE(by_row ? "by row" : "by tensor");
      a.vector_scales = by_row;
      a.out_element = element;
      if (by_row && !gemm.library.supports(a)) continue;  // newer libraries only, for some types
      gemm.library.run(nullptr, a);
      const std::vector<float> got = out.host();
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t o = 0; o < kOut; ++o) {
          const auto at = static_cast<size_t>(r * kOut + o);
          const double scale = static_cast<double>(scales[by_row ? static_cast<size_t>(r) : 0]) *
                               static_cast<double>(weight_scales[by_row ? static_cast<size_t>(o) : 0]);
          float value = got[at];
          if (element == Element::bf16) {
            uint16_t bits = 0;
            std::memcpy(&bits, reinterpret_cast<const uint16_t*>(got.data()) + at, sizeof(bits));
            const uint32_t wide = uint32_t{bits} << 16;
            std::memcpy(&value, &wide, sizeof(value));
          }
          // Hopper's fp8 tensor cores keep about 14 bits inside an instruction, so 2^-13 of the magnitudes at worst.
          const double expected = reference.result[at] * scale;
          ASSERT_NEAR(static_cast<double>(value), expected,
                      reference.magnitude[at] * scale * 0x1p-12 + std::abs(expected) * 0x1p-8)
              << r << ", " << o;
        }
      }
    }
  }
}

TEST(CudaGemm, OnePlanForAllRowsGivesTheSameBits) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(11);
  constexpr int64_t kRows = 300;
  constexpr int64_t kOut = 512;
  constexpr int64_t kIn = 1024;
  const DeviceVector<__nv_bfloat16> in(rounded(testing::normals(engine, kRows * kIn)));
  const DeviceVector<__nv_bfloat16> weight(rounded(testing::normals(engine, kOut * kIn)));
  DeviceVector<uint8_t> workspace(CublasGemm::kWorkspaceBytes);
  CublasGemm gemm(workspace.data(), workspace.size(), {.plan_rows = 256});
  const auto product = [&](int64_t first, int64_t rows) {
    DeviceVector<float> out(static_cast<size_t>(rows * kOut));
    GemmArguments a;
    a.in = in.data() + first * kIn;
    a.weight = weight.data();
    a.in_stride = a.weight_stride = a.inputs = kIn;
    a.rows = rows;
    a.outputs = a.out_stride = kOut;
    a.out = out.data();
    a.out_element = Element::f32;
    gemm.run(nullptr, a);
    return out.host();
  };
  const std::vector<float> all = product(0, kRows);
  for (const auto& [first, rows] : {std::pair<int64_t, int64_t>{0, 300}, {0, 33}, {100, 64}, {299, 1}, {17, 200}}) {
    const std::vector<float> some = product(first, rows);
    EXPECT_EQ(std::memcmp(some.data(), all.data() + first * kOut, some.size() * 4), 0) << first << ", " << rows;
  }
}

TEST(CudaGemm, RunsFromAGraphAndRefusesWhatTheLibraryCannotDo) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(12);
  constexpr int64_t kSize = 256;
  const DeviceVector<__nv_bfloat16> in(rounded(testing::normals(engine, kSize * kSize)));
  const DeviceVector<__nv_bfloat16> weight(rounded(testing::normals(engine, kSize * kSize)));
  DeviceVector<float> out(kSize * kSize);
  Gemm gemm;
  GemmArguments a;
  a.in = in.data();
  a.weight = weight.data();
  a.out = out.data();
  a.in_stride = a.weight_stride = a.out_stride = a.rows = a.outputs = a.inputs = kSize;
  a.out_element = Element::f32;
  cudaStream_t stream = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamCreate(&stream));
  gemm.library.run(stream, a);
  const std::vector<float> expected = out.host();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  gemm.library.run(stream, a);
  BAMBA_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  BAMBA_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  BAMBA_CUDA_CHECK(cudaMemsetAsync(out.data(), 0xFF, out.size() * 4, stream));
  BAMBA_CUDA_CHECK(cudaGraphLaunch(executable, stream));
  EXPECT_EQ(out.host(), expected);
  BAMBA_CUDA_CHECK(cudaGraphExecDestroy(executable));
  BAMBA_CUDA_CHECK(cudaGraphDestroy(graph));
  BAMBA_CUDA_CHECK(cudaStreamDestroy(stream));

  a.type = GemmType::fp8;
  a.inputs = 37;
  a.in_stride = a.weight_stride = 37;
  a.in_scales = a.weight_scales = out.data();
  EXPECT_FALSE(gemm.library.supports(a));
  EXPECT_THROW(gemm.library.run(nullptr, a), Error);
}

}  // namespace
}  // namespace bamba::backend::cuda
