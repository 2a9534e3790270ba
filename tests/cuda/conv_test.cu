// Causal convolution: against float64, and the promise that neither company nor cuts change a bit.
#include "backend/cuda/conv.h"

#include "backend/reference.h"
#include "cuda/scan_support.h"

namespace bamba::backend::cuda {
namespace {

using namespace testing;

template <typename T>
struct ConvCase {
  ConvShape shape;
  std::vector<SequenceRows> sequences;
  std::vector<float> in;  // [rows, channels], values that T has
  std::vector<std::vector<float>> windows;
  std::vector<float> weight;
  std::vector<float> bias;
  Activation activation = Activation::silu;
  int64_t gap = 8;  // elements before and after a row's columns

  ConvCase(std::mt19937& engine, ConvShape conv, const std::vector<int64_t>& lengths)
      : shape(conv),
        sequences(ragged(lengths, std::vector<int64_t>(lengths.size(), 7))),
        in(rounded<T>(normals(engine, static_cast<size_t>(rows() * conv.channels)))),
        weight(normals(engine, static_cast<size_t>(conv.width * conv.channels))),
        bias(normals(engine, static_cast<size_t>(conv.channels))) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      windows.push_back(rounded<T>(normals(engine, static_cast<size_t>(conv.width * conv.channels))));
    }
  }
  int64_t rows() const { return sequences.back().first + sequences.back().count; }

  /// Results, then the windows afterwards.
  std::vector<float> run(const std::vector<Pass>& passes, bool with_bias = true) {
    DeviceRows<T> source(in, rows(), shape.channels, shape.channels + 2 * gap, gap);
    DeviceRows<T> target(rows(), shape.channels, shape.channels + gap, 0);
    const DeviceVector<float> taps(weight);
    const DeviceVector<float> offsets(bias);
    auto memory = upload_states(windows);
    for (const Pass& pass : passes) {
      PassLists lists(pass, memory);
      causal_conv(nullptr, ConvArguments<T>{source.data(), source.stride(), lists.rows.data(),
                                            static_cast<int64_t>(pass.size()), rows(), lists.max_count,
                                            lists.states.data(), taps.data(), with_bias ? offsets.data() : nullptr,
                                            shape, activation, target.data(), target.stride()});
      BAMBA_CUDA_CHECK(cudaDeviceSynchronize());
    }
    auto all = target.values();
    for (const auto& window : memory) {
      const auto values = window->host();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  void check() {
    const auto got = run(one_pass(sequences));
    const Matrix view{in.data(), rows(), shape.channels, shape.channels};
    size_t at = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const auto expected =
          reference::causal_conv(view, sequences[s], windows[s], weight.data(), bias.data(), shape, activation);
      // A rounding a tap of terms of a few units each, a few more of the activation, and the result's.
      const double sums = 1e-6 * static_cast<double>(4 + shape.width);
      for (const double v : expected) {
        ASSERT_NEAR(got[at++], v, sums + 1.01 * kRounding<T> * std::abs(v))
            << "width " << shape.width << " channels " << shape.channels << " activation "
            << static_cast<int>(activation) << " at " << at - 1;
      }
    }
    for (size_t s = 0; s < sequences.size(); ++s) {  // copies of inputs: exact
      for (int64_t k = 0; k < shape.width; ++k) {
        const int64_t t = sequences[s].count - shape.width + k;
        for (int64_t c = 0; c < shape.channels; ++c) {
          const float expected = t >= 0 ? in[static_cast<size_t>((sequences[s].first + t) * shape.channels + c)]
                                        : windows[s][static_cast<size_t>((shape.width + t) * shape.channels + c)];
          ASSERT_EQ(got[at++], expected) << "window row " << k << " channel " << c;
        }
      }
    }
  }
};

template <typename T>
void expect_matches(unsigned seed) {
  std::mt19937 engine(seed);
  int turn = 0;
  for (const int64_t width : {1, 2, 3, 4, 5, 19}) {
    for (const int64_t channels : {1, 15, 16, 40, 96, 776, 1000}) {
      ConvCase<T> c(engine, {channels, width}, {1, between(engine, 1, 9), between(engine, 1, 70), 0, 2, 48});
      c.activation = static_cast<Activation>(turn % 4);
      c.gap = turn % 3 == 0 ? 3 : 8;  // rows that are not aligned to vectors, too
      ++turn;
      c.check();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(CudaConv, MatchesReferenceF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_matches<float>(20);
}
TEST(CudaConv, MatchesReferenceBf16) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_matches<__nv_bfloat16>(21);
}

template <typename T>
void expect_same_however_run(unsigned seed) {
  std::mt19937 engine(seed);
  for (const int64_t width : {2, 4, 18}) {
    // Over 32 sequences: more than one round of the search for a tile's owner.
    std::vector<int64_t> lengths;
    for (int i = 0; i < 40; ++i) lengths.push_back(i % 7 == 3 ? 0 : between(engine, 1, i % 5 == 0 ? 90 : 6));
    ConvCase<T> c(engine, {200, width}, lengths);
    const auto expected = c.run(one_pass(c.sequences));
    ASSERT_TRUE(same_bits(c.run(one_pass(c.sequences)), expected));
    ASSERT_TRUE(same_bits(c.run(cut_passes(engine, c.sequences, 5)), expected));
    ASSERT_TRUE(same_bits(c.run(decoding_passes(c.sequences)), expected));
  }
}

TEST(CudaConv, AnyCutAnyCompanyF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_same_however_run<float>(22);
}
TEST(CudaConv, AnyCutAnyCompanyBf16) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_same_however_run<__nv_bfloat16>(23);
}

TEST(CudaConv, NoBiasIsZeroBias) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(24);
  for (const int64_t width : {3, 4}) {
    ConvCase<float> c(engine, {40, width}, {5, 30});
    std::fill(c.bias.begin(), c.bias.end(), 0.0f);
    ASSERT_TRUE(same_bits(c.run(one_pass(c.sequences), false), c.run(one_pass(c.sequences))));
  }
}

/// In a graph that was captured for more sequences than a step has, the rest have no rows.
TEST(CudaConv, SequencesWithoutRowsKeepTheirWindows) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(25);
  ConvCase<__nv_bfloat16> c(engine, {64, 4}, {1, 1, 0, 0});
  c.check();
}

}  // namespace
}  // namespace bamba::backend::cuda
