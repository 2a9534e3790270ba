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

/// A model's operations in one queue, whose kernels begin before those in front have ended, against the same ones each
/// alone on the GPU: not a bit may differ, whether launched one by one or from a graph.
TEST(CudaBackend, OperationsOverlapWithTheSameBits) {
  BAMBA_SKIP_WITHOUT_GPU();
  constexpr int64_t kWidth = 512;
  constexpr int64_t kInner = 1024;
  constexpr int64_t kLayers = 6;
  const ScanShape scan{16, 64, 1, 128, 64, 0.0f, INFINITY};
  const int64_t channels = kInner + 2 * scan.d_state;
  const int64_t projected = kInner + channels + scan.n_heads;
  for (const WeightFormat format : {WeightFormat::bf16, WeightFormat::q4}) {
    const auto gpu = cuda_backend(ActivationFormat::bf16);
    std::mt19937 engine(7);
    const auto weight = [&](int64_t out, int64_t in) {
      return gpu->pack_linear(Tensor::from(normals(engine, static_cast<size_t>(out * in), 0.05f), {out, in}), format);
    };
    const auto vector = [&](int64_t n) { return gpu->upload_vector(normals(engine, static_cast<size_t>(n))); };
    const auto in_proj = weight(projected, kWidth);
    const auto out_proj = weight(kWidth, kInner);
    const auto gate_proj = weight(kInner, kWidth);
    const auto up_proj = weight(kInner, kWidth);
    const Buffer norm = vector(kWidth);
    const Buffer inner_norm = vector(kInner);
    const Buffer taps = vector(channels * 4);
    const Buffer heads = gpu->upload_vector(std::vector<float>(static_cast<size_t>(scan.n_heads), -0.5f));
    for (const int64_t rows : {1, 3}) {
      SCOPED_TRACE(::testing::Message() << weight_format_name(format) << ", " << rows << " rows");
      const auto first = normals(engine, static_cast<size_t>(rows * kWidth));
      std::vector<SequenceRows> sequences;
      for (int64_t r = 0; r < rows; ++r) sequences.push_back({r, 1, 0});
      const auto matrix = [&](Buffer& memory, int64_t cols, Element element) {
        memory = gpu->allocate(static_cast<size_t>(rows * cols) * sizeof(float));
        return Matrix{memory.floats(), rows, cols, cols, element};
      };
      const auto run = [&](bool alone, int times, bool joined) {
        Buffer memory[8];
        const Matrix hidden = matrix(memory[0], kWidth, Element::f32);
        const Matrix normed = matrix(memory[1], kWidth, Element::bf16);
        const Matrix wide = matrix(memory[2], projected, Element::bf16);
        const Matrix convolved = matrix(memory[3], channels, Element::bf16);
        const Matrix mixed = matrix(memory[4], kInner, Element::bf16);
        const Matrix gate = matrix(memory[5], kInner, Element::bf16);
        const Matrix up = matrix(memory[6], kInner, Element::bf16);
        std::vector<Buffer> states;
        std::vector<float*> windows;
        std::vector<float*> memories;
        for (int64_t r = 0; r < rows; ++r) {
          states.push_back(gpu->allocate(static_cast<size_t>(channels * 4) * sizeof(float)));
          windows.push_back(states.back().floats());
          states.push_back(gpu->allocate(static_cast<size_t>(kInner * scan.d_state) * sizeof(float)));
          memories.push_back(states.back().floats());
        }
        gpu->upload_rows(first.data(), kWidth, hidden);
        const auto next = [&] {
          if (alone) gpu->finish();
        };
        ProductInput after;
        for (int step = 0; step < times; ++step) {
          for (int64_t layer = 0; layer < kLayers; ++layer) {
            if (joined) {
              ProductInput rows_in{normed};
              if (layer == 0) gpu->rms_norm(hidden, norm.floats(), 1e-5f, normed);
              if (layer > 0) rows_in = after;
              next();
              gpu->linear_conv(
                  rows_in, {in_proj.get(), nullptr, false, wide}, kInner,
                  {sequences, windows, taps.floats(), nullptr, ConvShape{channels, 4}, Activation::silu, convolved});
              next();
              const ProductInput gated = gpu->scan_gated_rms_norm(
                  {convolved, wide.columns(kInner + channels, scan.n_heads), sequences, memories, heads.floats(),
                   heads.floats(), heads.floats(), scan, ScanForm::recurrent, mixed},
                  wide.columns(0, kInner), inner_norm.floats(), 1e-5f, out_proj.get());
              next();
              after = gpu->linear_rms_norm(gated, {out_proj.get(), nullptr, true, hidden}, norm.floats(), 1e-5f, normed,
                                           gate_proj.get());
              next();
              const ProductInput product =
                  gpu->gated_linear(after, {gate_proj.get(), nullptr, false, gate}, {up_proj.get(), nullptr, false, up},
                                    Activation::silu, out_proj.get());
              next();
              after = gpu->linear_rms_norm(product, {out_proj.get(), nullptr, true, hidden}, norm.floats(), 1e-5f,
                                           normed, in_proj.get());
              next();
              continue;
            }
            gpu->rms_norm(hidden, norm.floats(), 1e-5f, normed);
            next();
            gpu->linear(normed, *in_proj, nullptr, false, wide);
            next();
            gpu->causal_conv(wide.columns(kInner, channels), sequences, windows, taps.floats(), nullptr,
                             ConvShape{channels, 4}, Activation::silu, convolved);
            next();
            gpu->selective_scan(convolved, wide.columns(kInner + channels, scan.n_heads), sequences, memories,
                                heads.floats(), heads.floats(), heads.floats(), scan, ScanForm::recurrent, mixed);
            next();
            gpu->gated_rms_norm(mixed, wide.columns(0, kInner), inner_norm.floats(), 1e-5f, 1);
            next();
            gpu->linear(mixed, *out_proj, nullptr, true, hidden);
            next();
            gpu->rms_norm(hidden, norm.floats(), 1e-5f, normed);
            next();
            const LinearOp ops[] = {{gate_proj.get(), nullptr, false, gate}, {up_proj.get(), nullptr, false, up}};
            gpu->linear(normed, ops);
            next();
            gpu->gated_activation(gate, up, Activation::silu);
            next();
            gpu->linear(gate, *out_proj, nullptr, true, hidden);
            next();
          }
          gpu->finish();
        }
        std::vector<float> result(first.size());
        gpu->download_rows(hidden, result.data(), kWidth);
        return result;
      };
      for (const bool joined : {false, true}) {
        for (const int times : {1, 5}) {  // from the second on as a graph
          const auto expected = run(true, times, joined);
          for (const float v : expected) ASSERT_TRUE(std::isfinite(v));
          for (int i = 0; i < 5; ++i) {
            ASSERT_EQ(run(false, times, joined), expected) << times << " steps, run " << i << ", joined " << joined;
          }
        }
      }
    }
  }
}

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
