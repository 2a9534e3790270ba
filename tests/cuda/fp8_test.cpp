#include <bamba/error.h>

#include <limits>

#include "backend/backend.h"
#include "backend/cuda/fp8_rows.h"
#include "cuda/skinny_weights.h"

namespace bamba::backend::cuda {
namespace {

using testing::DeviceVector;

TEST(CudaFp8, WeightsKeepThreeBitsAndMustBeFinite) {
  std::mt19937 engine(7);
  constexpr int64_t kOut = 130;
  constexpr int64_t kIn = 300;
  std::vector<float> weights = testing::normals(engine, kOut * kIn);
  std::vector<uint8_t> codes(weights.size());
  std::vector<float> scales(kOut);
  std::vector<float> block_scales(2 * 3);
  fp8_quantize_rows(weights.data(), kOut, kIn, codes.data(), scales.data());
  // Half of the last place: 2^-4 of the value, or of the smallest normal number.
  const auto check = [&](int64_t i, float scale) {
    const float weight = weights[static_cast<size_t>(i)];
    ASSERT_NEAR(from_e4m3(codes[static_cast<size_t>(i)]) * scale, weight,
                std::max(std::abs(weight), scale * 0x1p-6f) * 0x1.0001p-4f);
  };
  for (int64_t i = 0; i < kOut * kIn; ++i) check(i, scales[static_cast<size_t>(i / kIn)]);
  fp8_quantize_blocks(weights.data(), kOut, kIn, codes.data(), block_scales.data());
  for (int64_t i = 0; i < kOut * kIn; ++i) {
    check(i, block_scales[static_cast<size_t>(i / kIn / 128 * 3 + i % kIn / 128)]);
  }
  weights[1000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(fp8_quantize_rows(weights.data(), kOut, kIn, codes.data(), scales.data()), Error);
}

/// Weights that came with scales for blocks, through the backend: kept as they are where the kernels know their size.
TEST(CudaFp8, BlocksComeBackAndMultiply) {
  BAMBA_SKIP_WITHOUT_GPU();
  ThreadPool pool(2);
  std::mt19937 engine(9);
  CudaOptions options;
  options.memory = size_t{1} << 30;
  for (const ActivationFormat activations : {ActivationFormat::f32, ActivationFormat::bf16}) {
    options.activations = activations;
    const auto gpu = make_cuda_backend(options);
    EXPECT_TRUE(gpu->keeps_fp8_blocks({128, 128}));
    for (const Fp8Block& block : {Fp8Block{128, 128}, {128, 64}, {7, 300}}) {
      const bool kept = gpu->keeps_fp8_blocks(block);
      EXPECT_EQ(kept, block == (Fp8Block{128, 128}));
      // The second is for the plain kernels: rows of 33 bytes are no multiple of 16.
      for (const auto& [out, in] : {std::pair<int64_t, int64_t>{130, 304}, {65, 33}, {1000, 512}, {128, 128}}) {
        SCOPED_TRACE(::testing::Message()
                     << in << " -> " << out << ", blocks of " << block.rows << " x " << block.cols);
        const std::vector<float> dense = testing::normals(engine, static_cast<size_t>(out * in), 0.5f);
        Fp8Matrix matrix{Tensor::empty(DType::f8_e4m3, {out, in}), {}, block};
        auto* codes = static_cast<uint8_t*>(matrix.codes.raw());
        for (int64_t o = 0; o < out; o += block.rows) {
          for (int64_t k = 0; k < in; k += block.cols) {
            matrix.scales.push_back(fp8_quantize_block(dense.data() + o * in + k, std::min(block.rows, out - o),
                                                       std::min(block.cols, in - k), in, codes + o * in + k));
          }
        }
        const auto weight = gpu->pack_fp8(matrix);
        EXPECT_EQ(weight->format(), kept ? WeightFormat::fp8 : WeightFormat::bf16);
        const Tensor wide = kept ? widen_fp8(matrix) : widen_fp8(matrix).to(DType::bf16).to(DType::f32);
        const auto values = wide.data<float>();
        std::vector<float> back(values.size());
        gpu->unpack_linear(*weight, 0, out, back.data());
        ASSERT_EQ(back, std::vector<float>(values.begin(), values.end()));

        for (const int64_t rows : {1, 8, 32, 33}) {
          const bool narrow = gpu->intermediate_element() == Element::bf16;
          std::vector<float> x = testing::normals(engine, static_cast<size_t>(rows * in));
          std::vector<uint16_t> halves;
          for (float& value : x) {
            if (narrow) value = to_float(to_bf16(value));
            halves.push_back(to_bf16(value).bits);
          }
          const Buffer in_memory = gpu->allocate(x.size() * sizeof(float));
          gpu->upload(in_memory, 0, narrow ? static_cast<const void*>(halves.data()) : x.data(),
                      x.size() * (narrow ? sizeof(uint16_t) : sizeof(float)));
          const Buffer out_memory = gpu->allocate(static_cast<size_t>(rows * out) * sizeof(float));
          const Matrix result{out_memory.floats(), rows, out, out};
          gpu->linear({in_memory.floats(), rows, in, in, gpu->intermediate_element()}, *weight, nullptr, false, result);
          std::vector<float> y(static_cast<size_t>(rows * out));
          gpu->download_rows(result, y.data(), out);
          for (int64_t i = 0; i < rows * out; ++i) {
            double sum = 0;
            double magnitude = 0;
            for (int64_t k = 0; k < in; ++k) {
              const double term = static_cast<double>(x[static_cast<size_t>(i / out * in + k)]) *
                                  values[static_cast<size_t>(i % out * in + k)];
              sum += term;
              magnitude += std::abs(term);
            }
            // As in CudaWeights: f32 sums of `in` terms, and for many rows weights that are rounded to bf16 first.
            const double relative = static_cast<double>(in + 4) * 0x1p-23 + (narrow && rows > 32 ? 0x1p-8 : 0.0);
            ASSERT_NEAR(y[static_cast<size_t>(i)], sum, relative * magnitude) << i;
          }
        }
      }
    }
    Fp8Matrix broken{Tensor::zeros(DType::f8_e4m3, {3, 4}), {1}, Fp8Block{128, 128}};
    static_cast<uint8_t*>(broken.codes.raw())[9] = 0xFF;
    EXPECT_THROW(gpu->pack_fp8(broken), Error);
    broken.block = Fp8Block{64, 64};
    EXPECT_THROW(gpu->pack_fp8(broken), Error);
  }
}

TEST(CudaFp8, ActivationsRoundRowByRow) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(8);
  constexpr int64_t kRows = 9;
  constexpr int64_t kCols = 515;
  std::vector<float> values = testing::normals(engine, kRows * (kCols + 1), 30);
  for (int64_t c = 0; c < kCols; ++c) values[static_cast<size_t>(4 * (kCols + 1) + c)] = 0;
  const DeviceVector<float> in(values);
  DeviceVector<uint8_t> codes(kRows * kCols);
  DeviceVector<float> scales(kRows);
  fp8_rows(nullptr, {in.data(), Element::f32, kCols + 1, kRows, kCols, codes.data(), kCols, scales.data()});
  const std::vector<uint8_t> got = codes.host();
  const std::vector<float> got_scales = scales.host();
  for (int64_t r = 0; r < kRows; ++r) {
    const float* row = values.data() + r * (kCols + 1);
    float largest = 0;
    for (int64_t c = 0; c < kCols; ++c) largest = std::max(largest, std::abs(row[c]));
    const float scale = largest > 0 ? largest / kE4m3Largest : 1.0f;
    ASSERT_EQ(got_scales[static_cast<size_t>(r)], scale);
    for (int64_t c = 0; c < kCols; ++c) ASSERT_EQ(got[static_cast<size_t>(r * kCols + c)], to_e4m3(row[c] / scale));
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
