// Causal convolution and selective scan: against the reference, and the promise that a prompt may be cut anywhere.
#include "backend/reference.h"
#include "backend/support.h"

namespace bamba::backend {
namespace {

using testing::Random;
using testing::Rows;
using testing::same_bits;

// --- convolution ------------------------------------------------------------------------------------------------

struct ConvCase {
  ConvShape shape;
  std::vector<SequenceRows> sequences;
  Rows in;
  std::vector<std::vector<float>> windows;
  std::vector<float> weight;
  std::vector<float> bias;
  Activation activation = Activation::silu;

  ConvCase(Random& random, ConvShape conv, const std::vector<int64_t>& lengths)
      : shape(conv),
        sequences(testing::ragged(lengths, std::vector<int64_t>(lengths.size(), 7))),
        in(Rows::normals(random, sequences.back().first + sequences.back().count, conv.channels)),
        weight(random.normals(conv.width * conv.channels)),
        bias(random.normals(conv.channels)) {
    for (size_t i = 0; i < lengths.size(); ++i) windows.push_back(random.normals(conv.width * conv.channels));
  }

  /// Results and the windows afterwards, of the given sequences (index into `windows`, rows).
  std::vector<float> run(Backend& cpu, const std::vector<std::vector<std::pair<size_t, SequenceRows>>>& passes) {
    auto state = windows;
    Rows out(in.view().rows, shape.channels);
    for (const auto& pass : passes) {
      std::vector<SequenceRows> rows;
      std::vector<float*> pointers;
      for (const auto& [index, part] : pass) {
        rows.push_back(part);
        pointers.push_back(state[index].data());
      }
      cpu.causal_conv(in.view(), rows, pointers, weight.data(), bias.data(), shape, activation, out.view());
    }
    EXPECT_TRUE(out.padding_intact());
    auto all = out.values();
    for (const auto& window : state) all.insert(all.end(), window.begin(), window.end());
    return all;
  }
};

template <typename Case>
std::vector<std::vector<std::pair<size_t, SequenceRows>>> one_pass(const Case& c) {
  std::vector<std::pair<size_t, SequenceRows>> pass;
  for (size_t i = 0; i < c.sequences.size(); ++i) pass.emplace_back(i, c.sequences[i]);
  return {pass};
}

/// Each sequence for itself, cut at random places.
template <typename Case>
std::vector<std::vector<std::pair<size_t, SequenceRows>>> cut_passes(Random& random, const Case& c) {
  std::vector<std::vector<std::pair<size_t, SequenceRows>>> passes;
  for (size_t i = 0; i < c.sequences.size(); ++i) {
    for (const auto& part : testing::random_cut(random, c.sequences[i])) passes.push_back({{i, part}});
  }
  return passes;
}

template <typename Case>
std::vector<std::vector<std::pair<size_t, SequenceRows>>> token_passes(const Case& c) {
  std::vector<std::vector<std::pair<size_t, SequenceRows>>> passes;
  for (size_t i = 0; i < c.sequences.size(); ++i) {
    for (int64_t t = 0; t < c.sequences[i].count; ++t) {
      passes.push_back({{i, {c.sequences[i].first + t, 1, c.sequences[i].start + t}}});
    }
  }
  return passes;
}

/// One result, bit for bit: in one pass, cut anywhere, token by token, on any number of threads.
template <typename Case>
void expect_same_however_run(Random& random, Case& c) {
  const auto expected = c.run(*make_cpu_backend(1), one_pass(c));
  const auto cpu = make_cpu_backend(2);
  ASSERT_TRUE(same_bits(c.run(*cpu, cut_passes(random, c)), expected));
  ASSERT_TRUE(same_bits(c.run(*cpu, token_passes(c)), expected));
  for (int threads = 2; threads <= 8; ++threads) {
    ASSERT_TRUE(same_bits(c.run(*make_cpu_backend(threads), one_pass(c)), expected)) << threads;
  }
}

TEST(CpuCausalConv, MatchesReference) {
  const auto cpu = make_cpu_backend(2);
  Random random(20);
  for (int64_t width = 1; width <= 5; ++width) {
    for (const int64_t channels : {1, 15, 16, 17, 40, 255, 256, 257, 300}) {
      ConvCase c(random, {channels, width}, {1, random.between(1, 9), random.between(1, 40)});
      c.activation = static_cast<Activation>(random.below(4));
      const auto got = c.run(*cpu, one_pass(c));
      size_t at = 0;
      for (size_t s = 0; s < c.sequences.size(); ++s) {
        const auto expected = reference::causal_conv(c.in.view(), c.sequences[s], c.windows[s], c.weight.data(),
                                                     c.bias.data(), c.shape, c.activation);
        // Six roundings of terms of a few units each.
        for (const double v : expected) ASSERT_NEAR(got[at++], v, 4e-6) << width << " " << channels;
      }
      // The windows are copies of inputs: exact.
      for (size_t s = 0; s < c.sequences.size(); ++s) {
        for (int64_t k = 0; k < width; ++k) {
          const int64_t t = c.sequences[s].count - width + k;
          for (int64_t ch = 0; ch < channels; ++ch) {
            const float expected = t >= 0 ? c.in.at(c.sequences[s].first + t, ch)
                                          : c.windows[s][static_cast<size_t>((width + t) * channels + ch)];
            ASSERT_EQ(got[at++], expected);
          }
        }
      }
    }
  }
}

TEST(CpuCausalConv, AnyCutAnyCompanyAnyThreads) {
  Random random(21);
  for (int64_t width = 1; width <= 5; ++width) {
    ConvCase c(random, {random.between(200, 700), width}, {random.between(1, 700), 1, 3, random.between(1, 60)});
    ASSERT_NO_FATAL_FAILURE(expect_same_however_run(random, c));
  }
}

TEST(CpuCausalConv, NoBiasIsZeroBias) {
  const auto cpu = make_cpu_backend(1);
  Random random(22);
  ConvCase c(random, {37, 4}, {5});
  std::fill(c.bias.begin(), c.bias.end(), 0.0f);
  const auto expected = c.run(*cpu, one_pass(c));
  Rows out(5, 37);
  float* window = c.windows[0].data();
  cpu->causal_conv(c.in.view(), c.sequences, {&window, 1}, c.weight.data(), nullptr, c.shape, c.activation, out.view());
  const auto values = out.values();
  EXPECT_TRUE(std::equal(values.begin(), values.end(), expected.begin()));
}

// --- scan -------------------------------------------------------------------------------------------------------

struct ScanCase {
  ScanShape shape;
  std::vector<SequenceRows> sequences;
  Rows xbc;
  Rows dt;
  std::vector<std::vector<float>> states;
  std::vector<float> a;
  std::vector<float> d;
  std::vector<float> dt_bias;
  ScanForm form = ScanForm::recurrent;

  ScanCase(Random& random, ScanShape scan, const std::vector<int64_t>& lengths, const std::vector<int64_t>& starts)
      : shape(scan),
        sequences(testing::ragged(lengths, starts)),
        xbc(Rows::normals(random, sequences.back().first + sequences.back().count,
                          scan.n_heads * scan.d_head + 2 * scan.n_groups * scan.d_state)),
        dt(Rows::normals(random, xbc.view().rows, scan.n_heads)),
        d(random.normals(scan.n_heads)),
        dt_bias(random.normals(scan.n_heads)) {
    for (int64_t h = 0; h < scan.n_heads; ++h) a.push_back(-std::exp(random.normal()));
    for (size_t i = 0; i < lengths.size(); ++i) {
      states.push_back(random.normals(scan.n_heads * scan.d_state * scan.d_head));
    }
  }

  std::vector<float> run(Backend& cpu, const std::vector<std::vector<std::pair<size_t, SequenceRows>>>& passes) {
    auto current = states;
    Rows out(xbc.view().rows, shape.n_heads * shape.d_head);
    for (const auto& pass : passes) {
      std::vector<SequenceRows> rows;
      std::vector<float*> pointers;
      for (const auto& [index, part] : pass) {
        rows.push_back(part);
        pointers.push_back(current[index].data());
      }
      cpu.selective_scan(xbc.view(), dt.view(), rows, pointers, a.data(), d.data(), dt_bias.data(), shape, form,
                         out.view());
    }
    EXPECT_TRUE(out.padding_intact());
    auto all = out.values();
    for (const auto& state : current) all.insert(all.end(), state.begin(), state.end());
    return all;
  }

  /// The same by the float64 reference, and beside each value the scale its error is measured by: the same sums with
  /// all terms taken positive.
  void expect(std::vector<double>& values, std::vector<double>& scales, bool blocks = false) {
    Rows positive_xbc = xbc;
    for (int64_t r = 0; r < xbc.view().rows; ++r) {
      for (int64_t c = 0; c < xbc.view().cols; ++c) positive_xbc.at(r, c) = std::abs(xbc.at(r, c));
    }
    std::vector<float> positive_d = d;
    for (float& v : positive_d) v = std::abs(v);
    values.clear();
    scales.clear();
    std::vector<double> state_values;
    std::vector<double> state_scales;
    for (size_t s = 0; s < sequences.size(); ++s) {
      reference::Table state(states[s].begin(), states[s].end());
      reference::Table magnitude = state;
      for (double& v : magnitude) v = std::abs(v);
      const reference::ScanInputs in{xbc.view(), dt.view(), sequences[s], a.data(), d.data(), dt_bias.data(), shape};
      const reference::ScanInputs positive{positive_xbc.view(), dt.view(),      sequences[s], a.data(),
                                           positive_d.data(),   dt_bias.data(), shape};
      const auto y = blocks ? reference::scan_blocks(in, state) : reference::scan_recurrence(in, state);
      const auto y_scale = reference::scan_recurrence(positive, magnitude);
      values.insert(values.end(), y.begin(), y.end());
      scales.insert(scales.end(), y_scale.begin(), y_scale.end());
      state_values.insert(state_values.end(), state.begin(), state.end());
      state_scales.insert(state_scales.end(), magnitude.begin(), magnitude.end());
    }
    values.insert(values.end(), state_values.begin(), state_values.end());
    scales.insert(scales.end(), state_scales.begin(), state_scales.end());
  }

  void check(Backend& cpu) {
    std::vector<double> values;
    std::vector<double> scales;
    expect(values, scales);
    for (const auto scan_form : {ScanForm::recurrent, ScanForm::chunked}) {
      form = scan_form;
      const auto got = run(cpu, one_pass(*this));
      ASSERT_EQ(got.size(), values.size());
      // d_state + d_head terms a sum in f32 and a decay whose exponent (up to about 100 before it no longer matters)
      // carries 2^-24: 2e-5 of the terms' magnitudes.
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], values[i], 2e-5 * scales[i] + 1e-30)
            << "form " << static_cast<int>(form) << " at " << i << " heads " << shape.n_heads << " d_head "
            << shape.d_head << " d_state " << shape.d_state << " chunk " << shape.chunk_size;
      }
    }
  }
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(CpuScan, BothFormsMatchReference) {
  const auto cpu = make_cpu_backend(2);
  Random random(30);
  for (int i = 0; i < 60; ++i) {
    const int64_t groups = random.pick({1, 1, 2, 3});
    const ScanShape shape{groups * random.between(1, 3),
                          random.between(1, 80),
                          groups,
                          random.between(1, 130),
                          random.pick({1, 8, 64, 256}),
                          0.0f,
                          kInfinity};
    ScanCase c(random, shape, {random.between(1, 30), 1, random.between(1, 20)},
               {0, random.between(0, 700), random.between(0, 300)});
    c.check(*cpu);
    if (HasFatalFailure()) return;
  }
}

TEST(CpuScan, LongSequencesAcrossChunks) {
  const auto cpu = make_cpu_backend(2);
  Random random(31);
  for (const int64_t chunk : {8, 64, 256}) {
    ScanCase c(random, {2, 24, 1, 33, chunk, 0.0f, kInfinity}, {random.between(400, 700), 3},
               {random.between(0, 99), 0});
    c.check(*cpu);
    if (HasFatalFailure()) return;
  }
}

TEST(CpuScan, ReferencesAgree) {
  Random random(32);
  ScanCase c(random, {4, 5, 2, 9, 8, 0.0f, kInfinity}, {45}, {0});
  std::vector<double> recurrence;
  std::vector<double> blocks;
  std::vector<double> scales;
  c.expect(blocks, scales, true);
  c.expect(recurrence, scales);
  for (size_t i = 0; i < blocks.size(); ++i) ASSERT_NEAR(blocks[i], recurrence[i], 1e-12 * scales[i]);
}

TEST(CpuScan, TimeStepLimitClamps) {
  const auto cpu = make_cpu_backend(2);
  Random random(33);
  for (const auto& [low, high] : {std::pair{0.001f, 0.1f}, {0.5f, 0.5f}, {0.3f, kInfinity}, {0.0f, 1.0f}}) {
    ScanCase c(random, {3, 20, 1, 18, 8, low, high}, {33}, {0});
    for (int64_t r = 0; r < 33; ++r) c.dt.at(r, 0) *= 8;
    c.check(*cpu);
    if (HasFatalFailure()) return;
  }
}

TEST(CpuScan, ExtremeTimeStepsAndDecays) {
  const auto cpu = make_cpu_backend(2);
  Random random(34);
  ScanCase c(random, {4, 17, 1, 20, 64, 0.0f, kInfinity}, {150, 20}, {5, 0});
  c.a = {-1e-6f, -1.0f, -16.0f, -1000.0f};
  c.dt_bias = {0, 0, 0, 0};
  for (int64_t r = 0; r < 170; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      const float extremes[] = {-100, 100, 19.9f, 20.1f, -20, 0, -3};
      c.dt.at(r, h) = extremes[random.below(7)];
    }
  }
  c.check(*cpu);
  for (const auto form : {ScanForm::recurrent, ScanForm::chunked}) {
    c.form = form;
    for (const float v : c.run(*cpu, one_pass(c))) ASSERT_TRUE(std::isfinite(v));
  }
}

TEST(CpuScan, RecurrenceAnyCutAnyCompanyAnyThreads) {
  Random random(35);
  for (int i = 0; i < 6; ++i) {
    const int64_t groups = random.pick({1, 2});
    const ScanShape shape{groups * 3, random.pick({8, 24, 31, 64, 80}), groups, random.pick({16, 33, 128}), 64, 0.0f,
                          kInfinity};
    ScanCase c(random, shape, {random.between(1, 300), 1, random.between(1, 9), random.between(1, 60)}, {0, 9, 250, 3});
    ASSERT_NO_FATAL_FAILURE(expect_same_however_run(random, c));
  }
}

// The chunked form keeps the promise for cuts at multiples of chunk_size from the sequence's start.
TEST(CpuScan, ChunkedFormMayBeCutAtChunkBoundaries) {
  Random random(36);
  const int64_t chunk = 32;
  ScanCase c(random, {12, 20, 2, 40, chunk, 0.0f, kInfinity}, {200, 1, 70}, {0, 31, 50});
  c.form = ScanForm::chunked;
  const auto expected = c.run(*make_cpu_backend(1), one_pass(c));
  std::vector<std::vector<std::pair<size_t, SequenceRows>>> passes;
  for (size_t i = 0; i < c.sequences.size(); ++i) {
    const SequenceRows& rows = c.sequences[i];
    for (int64_t t = 0; t < rows.count;) {
      const int64_t n = std::min(rows.count - t, chunk * random.between(1, 3) - (rows.start + t) % chunk);
      passes.push_back({{i, {rows.first + t, n, rows.start + t}}});
      t += n;
    }
  }
  for (int threads = 1; threads <= 8; ++threads) {
    const auto cpu = make_cpu_backend(threads);
    ASSERT_TRUE(same_bits(c.run(*cpu, passes), expected));
    ASSERT_TRUE(same_bits(c.run(*cpu, one_pass(c)), expected));
  }
}

/// On some processors subnormal numbers are a hundred times slower; a state that has decayed that far is zero.
TEST(CpuScan, StatesThatDecayBecomeZeroAndTheCallersModeStays) {
  const auto cpu = make_cpu_backend(1);
  const ScanShape shape{1, 16, 1, 16, 32, 0.0f, 100.0f};
  std::vector<float> state(16 * 16, 1e-37f);
  float* states[] = {state.data()};
  const SequenceRows rows[] = {{0, 1, 0}};
  Rows xbc(1, 16 + 32);
  for (int64_t c = 0; c < 48; ++c) xbc.at(0, c) = 0;
  Rows dt(1, 1);
  dt.at(0, 0) = 1;  // softplus 1.31, with a = -10 a decay of 2e-6: 2e-43 is subnormal
  const float a = -10;
  const float zero = 0;
  Rows out(1, 16);
  volatile float tiny = 1e-40f;
  cpu->selective_scan(xbc.view(), dt.view(), rows, states, &a, &zero, &zero, shape, ScanForm::recurrent, out.view());
  for (const float value : state) EXPECT_EQ(value, 0.0f);
  EXPECT_GT(tiny * 0.5f, 0.0f);
}

}  // namespace
}  // namespace bamba::backend
