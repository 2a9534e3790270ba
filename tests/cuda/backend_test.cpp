// Weights through the Backend interface: packed as the CPU packs them, read back exactly, multiplied right for any
// number of rows.
#include <bamba/error.h>

#include <algorithm>
#include <cmath>

#include "backend/backend.h"
#include "cuda/device.h"

namespace bamba::backend {
namespace {

using cuda::testing::normals;

std::unique_ptr<Backend> cuda_backend(ActivationFormat activations) {
  CudaOptions options;
  options.activations = activations;
  options.memory = size_t{1} << 30;
  return make_cuda_backend(options);
}

/// A matrix of the backend's intermediate element that holds `values`.
Matrix upload(Backend& device, Buffer& buffer, const std::vector<float>& values, int64_t rows, int64_t cols) {
  const Element element = device.intermediate_element();
  buffer = device.allocate(values.size() * sizeof(float));
  if (element == Element::f32) {
    device.upload(buffer, 0, values.data(), values.size() * sizeof(float));
  } else {
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(to_bf16(value).bits);
    device.upload(buffer, 0, halves.data(), halves.size() * sizeof(uint16_t));
  }
  return {buffer.floats(), rows, cols, cols, element};
}

class CudaWeights : public ::testing::TestWithParam<WeightFormat> {};

TEST_P(CudaWeights, ComeBackAndMultiply) {
  BAMBA_SKIP_WITHOUT_GPU();
  const WeightFormat format = GetParam();
  const auto cpu = make_cpu_backend(2);
  ThreadPool pool(2);
  std::mt19937 engine(static_cast<unsigned>(format));
  for (const auto activations : {ActivationFormat::f32, ActivationFormat::bf16}) {
    if (activations == ActivationFormat::bf16 && format == WeightFormat::f32) continue;
    const auto gpu = cuda_backend(activations);
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{64, 64}, {130, 200}, {65, 33}, {1000, 512}}) {
      const Tensor dense = Tensor::from(normals(engine, static_cast<size_t>(out * in)), {out, in});
      const auto on_cpu = cpu->pack_linear(dense, format);
      const auto on_gpu = gpu->pack_linear(dense, format);
      std::vector<float> weights(static_cast<size_t>(out * in));
      std::vector<float> back(weights.size());
      if (format == WeightFormat::fp8) {  // which the CPU would round to bf16
        const Tensor exact = widen_fp8(quantize_fp8(dense, pool));
        std::ranges::copy(exact.data<float>(), weights.begin());
      } else {
        cpu->unpack_linear(*on_cpu, 0, out, weights.data());
      }
      gpu->unpack_linear(*on_gpu, 0, out, back.data());
      ASSERT_EQ(back, weights);
      for (const int64_t rows : {1, 5, 32, 33, 100}) {
        SCOPED_TRACE(::testing::Message() << weight_format_name(format) << " " << rows << " x " << in << " -> " << out);
        const auto x = normals(engine, static_cast<size_t>(rows * in));
        const auto before = normals(engine, static_cast<size_t>(rows * out));
        const auto bias = normals(engine, static_cast<size_t>(out));
        Buffer in_memory;
        const Matrix in_matrix = upload(*gpu, in_memory, x, rows, in);
        const Buffer out_memory = gpu->allocate(before.size() * sizeof(float));
        gpu->upload(out_memory, 0, before.data(), before.size() * sizeof(float));
        const Buffer bias_memory = gpu->upload_vector(bias);
        const Matrix out_matrix{out_memory.floats(), rows, out, out};
        gpu->linear(in_matrix, *on_gpu, bias_memory.floats(), true, out_matrix);
        std::vector<float> y(before.size());
        gpu->download_rows(out_matrix, y.data(), out);
        const bool narrow = activations == ActivationFormat::bf16;
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t o = 0; o < out; ++o) {
            const auto at = static_cast<size_t>(r * out + o);
            double sum = static_cast<double>(before[at]) + bias[static_cast<size_t>(o)];
            double magnitude = std::abs(before[at]) + std::abs(bias[static_cast<size_t>(o)]);
            for (int64_t k = 0; k < in; ++k) {
              const float value = x[static_cast<size_t>(r * in + k)];
              const double term = static_cast<double>(narrow ? to_float(to_bf16(value)) : value) *
                                  weights[static_cast<size_t>(o * in + k)];
              sum += term;
              magnitude += std::abs(term);
            }
            // f32 sums of `in` terms, in any order; quantized weights for many rows are rounded to bf16 first.
            const bool coarse = is_quantized(format) || format == WeightFormat::fp8;
            const bool rounds_weights = narrow && coarse && rows > 32;
            const double relative = static_cast<double>(in + 4) * 0x1p-23 + (rounds_weights ? 0x1p-8 : 0.0);
            ASSERT_NEAR(y[at], sum, relative * magnitude) << r << ", " << o;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaWeights,
                         ::testing::Values(WeightFormat::f32, WeightFormat::bf16, WeightFormat::fp8, WeightFormat::q8,
                                           WeightFormat::q4),
                         [](const ::testing::TestParamInfo<WeightFormat>& format) {
                           return std::string(weight_format_name(format.param));
                         });

TEST(CudaBackend, HalvesAreRefused) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto gpu = cuda_backend(ActivationFormat::bf16);
  try {
    static_cast<void>(gpu->pack_linear(Tensor::zeros(DType::f32, {4, 4}), WeightFormat::f16));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
  }
}

}  // namespace
}  // namespace bamba::backend
