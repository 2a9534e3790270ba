// Operations that the GPU has in one kernel, against the same ones one after the other.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/backend.h"
#include "cuda/device.h"
#include "cuda/device_rows.h"

namespace bamba::backend {
namespace {

using cuda::testing::expect_close;
using cuda::testing::normals;
using cuda::testing::Rows;
using cuda::testing::States;

/// A rounding to bf16 is off by at most 2^-8 of a value, by 0.4 of that in the root of the mean square. Rounded at
/// other places, two results are up to four such errors apart, independent of each other.
constexpr double kRoundings = 0x1p-8;

std::unique_ptr<Backend> gpu_backend() {
  CudaOptions options;
  options.memory = size_t{1} << 30;
  return make_cuda_backend(options);
}

/// f32 [rows, cols].
struct Wide {
  Buffer memory;
  Matrix matrix;

  Wide(Backend& device, const std::vector<float>& values, int64_t cols) : memory(device.upload_vector(values)) {
    matrix = {memory.floats(), std::ssize(values) / cols, cols, cols, Element::f32};
  }
};

std::vector<float> host(Backend& device, Matrix matrix) {
  std::vector<float> out(static_cast<size_t>(matrix.rows * matrix.cols));
  device.download_rows(matrix, out.data(), matrix.cols);
  return out;
}

/// The last `rows` rows.
std::vector<float> last(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.end() - rows * cols, values.end()};
}

constexpr int64_t kMost = 8;
constexpr int64_t kCounts[] = {1, 2, 3, 8};

class CudaJoined : public ::testing::TestWithParam<WeightFormat> {
 protected:
  std::unique_ptr<LinearWeight> weight(Backend& device, int64_t out, int64_t in) {
    const auto values = normals(engine_, static_cast<size_t>(out * in), 1 / std::sqrt(static_cast<float>(in)));
    return device.pack_linear(Tensor::from(values, {out, in}), GetParam());
  }
  /// As many rows as are computed like `rows` of them, to the last bit.
  static int64_t most_like(int64_t rows) { return is_fixed(rows) ? rows : kMost; }
  /// Are the inputs of a product of the format fixed point?
  static bool is_fixed(int64_t rows) {
    return rows <= 4 && (GetParam() == WeightFormat::q8 || GetParam() == WeightFormat::q4);
  }
  std::vector<float> values(int64_t count) { return normals(engine_, static_cast<size_t>(count)); }

  std::mt19937 engine_{5};
};

TEST_P(CudaJoined, ANormIsLeftToTheNextProduct) {
  BAMBA_SKIP_WITHOUT_GPU();
  constexpr float kEps = 1e-5F;
  const auto gpu = gpu_backend();
  // The first: few outputs of many inputs, which blocks share; outputs that end within a tile.
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{512, 8192}, {720, 256}}) {
    SCOPED_TRACE(out);
    const auto first = weight(*gpu, out, in);
    const auto second = weight(*gpu, 96, out);
    const Buffer norm = gpu->upload_vector(values(out));
    const Buffer bias = gpu->upload_vector(values(96));
    const auto source = values(kMost * in);
    auto residual = values(kMost * out);
    for (float& v : residual) v *= 100;
    struct Results {
      std::vector<float> hidden;
      std::vector<float> product;
      std::vector<float> normed;
    };
    const auto run = [&](int64_t rows, bool joined) {
      const Rows x(*gpu, last(source, rows, in), in);
      const Wide hidden(*gpu, last(residual, rows, out), out);
      const Rows normed(*gpu, rows, out);
      const LinearOp op{first.get(), nullptr, true, hidden.matrix};
      const ProductInput result =
          joined ? gpu->linear_rms_norm({x.matrix}, op, norm.floats(), kEps, normed.matrix, second.get())
                 : gpu->Backend::linear_rms_norm({x.matrix}, op, norm.floats(), kEps, normed.matrix, second.get());
      EXPECT_EQ(result.squares != nullptr, joined);
      EXPECT_EQ(result.scales != nullptr, joined && is_fixed(rows) && out % 128 == 0);
      const Wide product(*gpu, std::vector<float>(static_cast<size_t>(rows * 96)), 96);
      const LinearOp next{second.get(), bias.floats(), false, product.matrix};
      gpu->linear_from(result, {&next, 1});
      Results results{host(*gpu, hidden.matrix), host(*gpu, product.matrix), {}};
      results.normed = host(*gpu, gpu->complete(result));
      return results;
    };
    for (const int64_t rows : kCounts) {
      SCOPED_TRACE(rows);
      const Results all = run(most_like(rows), true);
      const Results one_by_one = run(rows, false);
      const Results got = run(rows, true);
      EXPECT_EQ(got.hidden, one_by_one.hidden);
      expect_close(got.product, one_by_one.product, kRoundings, "product");
      for (size_t i = 0; i < got.normed.size(); ++i) {
        // Twice rounded, once rounded; before, to a part of the largest of the group.
        const auto group = one_by_one.normed.begin() + static_cast<std::ptrdiff_t>(i / 32 * 32);
        float largest = 0;
        for (auto v = group; v != std::min(group + 32, one_by_one.normed.end()); ++v)
          largest = std::max(largest, std::abs(*v));
        const float fixed = is_fixed(rows) ? 0x1p-15F * largest : 0;
        ASSERT_NEAR(got.normed[i], one_by_one.normed[i], fixed + 3 * 0x1p-8F * std::abs(one_by_one.normed[i])) << i;
      }
      // Nothing of a row depends on how many there are.
      EXPECT_EQ(got.product, last(all.product, rows, 96));
      EXPECT_EQ(got.normed, last(all.normed, rows, out));
    }
  }
}

TEST_P(CudaJoined, AFactorThatNobodyTakesIsApplied) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto gpu = gpu_backend();
  constexpr int64_t kWidth = 256;
  const auto first = weight(*gpu, kWidth, kWidth);
  const auto f32 = gpu->pack_linear(Tensor::from(values(8 * kWidth), {8, kWidth}), WeightFormat::f32);
  const Buffer norm = gpu->upload_vector(values(kWidth));
  const auto source = values(3 * kWidth);
  const auto run = [&](bool joined) {
    const Rows x(*gpu, source, kWidth);
    const Wide hidden(*gpu, std::vector<float>(3 * kWidth), kWidth);
    const Rows normed(*gpu, 3, kWidth);
    const Wide product(*gpu, std::vector<float>(3 * 8), 8);
    const LinearOp op{first.get(), nullptr, true, hidden.matrix};
    const ProductInput result =
        joined ? gpu->linear_rms_norm({x.matrix}, op, norm.floats(), 1e-5F, normed.matrix, first.get())
               : gpu->Backend::linear_rms_norm({x.matrix}, op, norm.floats(), 1e-5F, normed.matrix, nullptr);
    const LinearOp next{f32.get(), nullptr, false, product.matrix};  // not on tensor cores
    gpu->linear_from(result, {&next, 1});
    return host(*gpu, product.matrix);
  };
  expect_close(run(true), run(false), kRoundings, "product");
}

TEST_P(CudaJoined, AProductGatesAnother) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto gpu = gpu_backend();
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{128, 4096}, {200, 320}, {4096, 256}}) {
    SCOPED_TRACE(out);
    const auto reader = weight(*gpu, 32, out);
    const auto gate_weight = weight(*gpu, out, in);
    const auto up_weight = weight(*gpu, out, in);
    const Buffer gate_bias = gpu->upload_vector(values(out));
    const auto source = values(kMost * in);
    for (const Activation activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
      const auto run = [&](int64_t rows, bool joined) {
        const Rows x(*gpu, last(source, rows, in), in);
        const Rows gate(*gpu, rows, out);
        const Rows up(*gpu, rows, out);
        const LinearOp a{gate_weight.get(), gate_bias.floats(), false, gate.matrix};
        const LinearOp b{up_weight.get(), nullptr, false, up.matrix};
        const ProductInput result = joined ? gpu->gated_linear({x.matrix}, a, b, activation, reader.get())
                                           : gpu->Backend::gated_linear({x.matrix}, a, b, activation, reader.get());
        EXPECT_EQ(result.scales != nullptr, joined && is_fixed(rows) && out % 128 == 0);
        return host(*gpu, gpu->complete(result));
      };
      for (const int64_t rows : kCounts) {
        SCOPED_TRACE(rows);
        const auto all = run(most_like(rows), true);
        const auto got = run(rows, true);
        // A rounding of what goes into the activation weighs up to twice as much behind it.
        expect_close(got, run(rows, false), 2 * kRoundings, "gated");
        EXPECT_EQ(got, last(all, rows, out));
      }
    }
  }
}

/// In one kernel for a token of each sequence, which must not show.
TEST_P(CudaJoined, AProductEndsInAConvolution) {
  BAMBA_SKIP_WITHOUT_GPU();
  constexpr int64_t kFirst = 256;
  const ConvShape shape{384, 4};
  const int64_t out = kFirst + shape.channels + 40;
  const auto gpu = gpu_backend();
  for (const int64_t in : {512, 4096}) {
    const auto w = weight(*gpu, out, in);
    const Buffer taps = gpu->upload_vector(values(shape.channels * shape.width));
    const Buffer shift = gpu->upload_vector(values(shape.channels));
    for (const int64_t rows : kCounts) {
      for (const bool decoding : {true, false}) {
        SCOPED_TRACE(::testing::Message() << in << " inputs, " << rows << " rows, decoding " << decoding);
        std::vector<SequenceRows> sequences;
        for (int64_t r = 0; r < rows; r += sequences.back().count) {
          sequences.push_back({r, decoding ? 1 : std::min<int64_t>(rows - r, 3), 7});
        }
        const auto source = values(rows * in);
        std::vector<std::vector<float>> windows;
        for (size_t i = 0; i < sequences.size(); ++i) windows.push_back(values(shape.channels * shape.width));
        const auto run = [&](bool joined) {
          const Rows x(*gpu, source, in);
          const Rows projected(*gpu, rows, out);
          const Rows convolved(*gpu, rows, shape.channels);
          const States state(*gpu, windows);
          const LinearOp op{w.get(), nullptr, false, projected.matrix};
          const ConvOp conv{sequences, state.pointers,   taps.floats(),   rows % 2 == 0 ? shift.floats() : nullptr,
                            shape,     Activation::silu, convolved.matrix};
          if (joined) {
            gpu->linear_conv({x.matrix}, op, kFirst, conv);
          } else {
            gpu->Backend::linear_conv({x.matrix}, op, kFirst, conv);
          }
          return std::vector{convolved.host(*gpu), state.host(*gpu), host(*gpu, projected.matrix.columns(0, kFirst)),
                             host(*gpu, projected.matrix.columns(kFirst + shape.channels, 40))};
        };
        EXPECT_EQ(run(true), run(false));
      }
    }
  }
}

/// Products of fixed point, from where a norm leaves it: against those of bf16, with every end.
TEST_P(CudaJoined, ProductsReadFixedPoint) {
  BAMBA_SKIP_WITHOUT_GPU();
  if (!is_fixed(1)) GTEST_SKIP() << "these weights multiply bf16";
  constexpr float kEps = 1e-5F;
  constexpr int64_t kIn = 1024;
  const ConvShape shape{256, 4};
  const auto gpu = gpu_backend();
  const auto source = weight(*gpu, kIn, kIn);
  const Buffer norm = gpu->upload_vector(values(kIn));
  const Buffer next_norm = gpu->upload_vector(values(512));
  const Buffer taps = gpu->upload_vector(values(shape.channels * shape.width));
  const auto wide = weight(*gpu, 512, kIn);
  const auto other = weight(*gpu, 512, kIn);
  for (const int64_t rows : {1, 2, 3, 4}) {
    SCOPED_TRACE(rows);
    const auto x_values = values(rows * kIn);
    const auto hidden_values = values(rows * kIn);
    const auto next_values = values(rows * 512);
    std::vector<SequenceRows> sequences;
    std::vector<std::vector<float>> windows;
    for (int64_t r = 0; r < rows; ++r) {
      sequences.push_back({r, 1, 7});
      windows.push_back(values(shape.channels * shape.width));
    }
    const auto run = [&](bool joined) {
      const LinearWeight* reader = joined ? wide.get() : nullptr;
      const Rows x(*gpu, x_values, kIn);
      const Wide hidden(*gpu, hidden_values, kIn);
      const Rows normed(*gpu, rows, kIn);
      const ProductInput in = gpu->linear_rms_norm({x.matrix}, {source.get(), nullptr, true, hidden.matrix},
                                                   norm.floats(), kEps, normed.matrix, reader);
      EXPECT_EQ(in.scales != nullptr, joined);
      std::vector<std::vector<float>> results;

      const Rows plain(*gpu, rows, 512);
      const LinearOp plain_op{wide.get(), nullptr, false, plain.matrix};
      gpu->linear_from(in, {&plain_op, 1});
      results.push_back(plain.host(*gpu));

      const Rows gate(*gpu, rows, 512);
      const Rows up(*gpu, rows, 512);
      const ProductInput gated = gpu->gated_linear(in, {wide.get(), nullptr, false, gate.matrix},
                                                   {other.get(), nullptr, false, up.matrix}, Activation::silu, reader);
      results.push_back(host(*gpu, gpu->complete(gated)));

      const Rows projected(*gpu, rows, 512);
      const Rows convolved(*gpu, rows, shape.channels);
      const States state(*gpu, windows);
      gpu->linear_conv(in, {wide.get(), nullptr, false, projected.matrix}, 128,
                       {sequences, state.pointers, taps.floats(), nullptr, shape, Activation::silu, convolved.matrix});
      results.push_back(convolved.host(*gpu));
      results.push_back(state.host(*gpu));
      results.push_back(host(*gpu, projected.matrix.columns(0, 128)));
      results.push_back(host(*gpu, projected.matrix.columns(384, 128)));

      // Last, as its results' scales take the place of the inputs'.
      const Wide next(*gpu, next_values, 512);
      const Rows next_normed(*gpu, rows, 512);
      const ProductInput again = gpu->linear_rms_norm(in, {wide.get(), nullptr, true, next.matrix}, next_norm.floats(),
                                                      kEps, next_normed.matrix, reader);
      results.push_back(host(*gpu, next.matrix));
      results.push_back(host(*gpu, gpu->complete(again)));
      return results;
    };
    const auto expected = run(false);
    const auto got = run(true);
    for (size_t i = 0; i < got.size(); ++i) {
      expect_close(got[i], expected[i], 2 * kRoundings, std::to_string(i).c_str());
    }
  }
}

/// What is not finite shows.
TEST_P(CudaJoined, FixedPointKeepsWhatIsNotFinite) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto gpu = gpu_backend();
  constexpr int64_t kWidth = 256;
  const auto w = weight(*gpu, kWidth, kWidth);
  for (const float bad : {INFINITY, NAN}) {
    auto residual = values(2 * kWidth);
    residual[kWidth + 70] = bad;
    const Rows x(*gpu, values(2 * kWidth), kWidth);
    const Wide hidden(*gpu, residual, kWidth);
    const Rows normed(*gpu, 2, kWidth);
    const Wide product(*gpu, std::vector<float>(2 * kWidth), kWidth);
    const Buffer norm = gpu->upload_vector(std::vector<float>(kWidth, 1.0F));
    const ProductInput result = gpu->linear_rms_norm({x.matrix}, {w.get(), nullptr, true, hidden.matrix}, norm.floats(),
                                                     1e-5F, normed.matrix, w.get());
    const LinearOp next{w.get(), nullptr, false, product.matrix};
    gpu->linear_from(result, {&next, 1});
    const auto got = host(*gpu, product.matrix);
    for (int64_t i = 0; i < kWidth; ++i) {
      EXPECT_TRUE(std::isfinite(got[static_cast<size_t>(i)]));
      EXPECT_TRUE(std::isnan(got[static_cast<size_t>(kWidth + i)]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaJoined,
                         ::testing::Values(WeightFormat::bf16, WeightFormat::fp8, WeightFormat::q8, WeightFormat::q4),
                         [](const ::testing::TestParamInfo<WeightFormat>& format) {
                           return std::string(weight_format_name(format.param));
                         });

TEST(CudaJoinedScan, EndsInItsGateAndNorm) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(6);
  const auto gpu = gpu_backend();
  constexpr float kEps = 1e-5F;
  for (const auto& [d_head, d_state] : {std::pair<int64_t, int64_t>{64, 128}, {32, 16}, {128, 64}, {48, 16}}) {
    const ScanShape shape{4, d_head, 2, d_state, 256, 0.0F, INFINITY};
    const int64_t inner = shape.n_heads * d_head;
    const int64_t width = inner + 2 * shape.n_groups * d_state;
    const auto random = [&](int64_t count) { return normals(engine, static_cast<size_t>(count)); };
    for (const bool decoding : {true, false}) {
      SCOPED_TRACE(::testing::Message() << d_head << " x " << d_state << ", decoding " << decoding);
      std::vector<SequenceRows> sequences;
      for (const int64_t count : {3, 1, 2}) {
        const int64_t first = sequences.empty() ? 0 : sequences.back().first + sequences.back().count;
        sequences.push_back({first, decoding ? 1 : count, 5});
      }
      const int64_t rows = sequences.back().first + sequences.back().count;
      const auto xbc = random(rows * width);
      const auto dt = random(rows * shape.n_heads);
      const auto z = random(rows * inner);
      std::vector<std::vector<float>> states;
      for (size_t i = 0; i < sequences.size(); ++i) states.push_back(random(inner * d_state));
      const Buffer a = gpu->upload_vector(std::vector<float>(static_cast<size_t>(shape.n_heads), -0.5F));
      const Buffer heads = gpu->upload_vector(random(shape.n_heads));
      const Buffer norm = gpu->upload_vector(random(inner));
      const auto run = [&](bool joined, const LinearWeight* reader) {
        const Rows inputs(*gpu, xbc, width);
        const Rows steps(*gpu, dt, shape.n_heads);
        const Rows gate(*gpu, z, inner);
        const Rows target(*gpu, rows, inner);
        const States state(*gpu, states);
        const ScanOp op{inputs.matrix,  steps.matrix,   sequences, state.pointers,      a.floats(),
                        heads.floats(), heads.floats(), shape,     ScanForm::recurrent, target.matrix};
        const ProductInput result =
            joined ? gpu->scan_gated_rms_norm(op, gate.matrix, norm.floats(), kEps, reader)
                   : gpu->Backend::scan_gated_rms_norm(op, gate.matrix, norm.floats(), kEps, reader);
        EXPECT_EQ(result.squares != nullptr, joined && d_head % 32 == 0);
        EXPECT_EQ(result.scales != nullptr, result.squares != nullptr && reader != nullptr && rows <= 4);
        return std::pair{host(*gpu, gpu->complete(result)), state.host(*gpu)};
      };
      const auto expected = run(false, nullptr);
      const auto reader = gpu->pack_linear(Tensor::from(random(16 * inner), {16, inner}), WeightFormat::q4);
      for (const LinearWeight* each : std::initializer_list<const LinearWeight*>{nullptr, reader.get()}) {
        const auto got = run(true, each);
        expect_close(got.first, expected.first, kRoundings, "outputs");
        EXPECT_EQ(got.second, expected.second) << "states";
      }
    }
  }
}

/// A pass whose sequences have a token each is done by a kernel of its own.
TEST(CudaJoinedScan, AStepHasTheBitsOfLongerPasses) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(7);
  const auto gpu = gpu_backend();
  for (const auto& [d_head, d_state] : {std::pair<int64_t, int64_t>{64, 128}, {128, 64}}) {
    SCOPED_TRACE(::testing::Message() << d_head << " x " << d_state);
    const ScanShape shape{4, d_head, 2, d_state, 256, 0.0F, INFINITY};
    const int64_t inner = shape.n_heads * d_head;
    const int64_t width = inner + 2 * shape.n_groups * d_state;
    const auto random = [&](int64_t count) { return normals(engine, static_cast<size_t>(count)); };
    constexpr int64_t kSteps = 3;
    constexpr int64_t kRows = kSteps + 2;
    const auto xbc = random(kRows * width);
    const auto dt = random(kRows * shape.n_heads);
    const auto z = random(kRows * inner);
    std::vector<std::vector<float>> states;
    for (int64_t i = 0; i <= kSteps; ++i) states.push_back(random(inner * d_state));
    const Buffer heads = gpu->upload_vector(random(shape.n_heads));
    const Buffer norm = gpu->upload_vector(random(inner));
    // The first kSteps sequences have a token each; in the longer pass there is one more, of two tokens.
    const auto run = [&](bool longer) {
      const int64_t rows = longer ? kRows : kSteps;
      std::vector<SequenceRows> sequences;
      for (int64_t i = 0; i < kSteps; ++i) sequences.push_back({i, 1, 5});
      if (longer) sequences.push_back({kSteps, 2, 5});
      const auto first = [&](const std::vector<float>& values, int64_t cols) {
        return std::vector<float>(values.begin(), values.begin() + rows * cols);
      };
      const Rows inputs(*gpu, first(xbc, width), width);
      const Rows steps(*gpu, first(dt, shape.n_heads), shape.n_heads);
      const Rows gate(*gpu, first(z, inner), inner);
      const Rows target(*gpu, rows, inner);
      const States state(*gpu, {states.begin(), states.begin() + std::ssize(sequences)});
      const ScanOp op{inputs.matrix,  steps.matrix,   sequences, state.pointers,      heads.floats(),
                      heads.floats(), heads.floats(), shape,     ScanForm::recurrent, target.matrix};
      const ProductInput result = gpu->scan_gated_rms_norm(op, gate.matrix, norm.floats(), 1e-5F, nullptr);
      auto outputs = host(*gpu, gpu->complete(result));
      outputs.resize(static_cast<size_t>(kSteps * inner));
      auto left = state.host(*gpu);
      left.resize(kSteps);
      return std::pair{outputs, left};
    };
    const auto expected = run(true);
    const auto got = run(false);
    EXPECT_EQ(got.first, expected.first) << "outputs";
    EXPECT_EQ(got.second, expected.second) << "states";
  }
}

}  // namespace
}  // namespace bamba::backend
