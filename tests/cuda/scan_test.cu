// Selective scan: both forms against the float64 recurrence, and the promise that neither company nor cuts change a
// bit.
#include "backend/cuda/scan.h"

#include <bamba/error.h>

#include "backend/reference.h"
#include "cuda/scan_support.h"

namespace bamba::backend::cuda {
namespace {

using namespace testing;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
struct ScanCase {
  ScanShape shape;
  std::vector<SequenceRows> sequences;
  std::vector<float> xbc;  // [rows, width()], values that T has
  std::vector<float> dt;   // [rows, n_heads]
  std::vector<std::vector<float>> states;
  std::vector<float> a;
  std::vector<float> d;
  std::vector<float> dt_bias;
  ScanForm form = ScanForm::recurrent;
  int64_t gap = 8;  // elements beside a row's columns

  ScanCase(std::mt19937& engine, ScanShape scan, const std::vector<int64_t>& lengths,
           const std::vector<int64_t>& starts)
      : shape(scan),
        sequences(ragged(lengths, starts)),
        xbc(rounded<T>(normals(engine, static_cast<size_t>(rows() * width())))),
        dt(rounded<T>(normals(engine, static_cast<size_t>(rows() * scan.n_heads)))),
        d(normals(engine, static_cast<size_t>(scan.n_heads))),
        dt_bias(normals(engine, static_cast<size_t>(scan.n_heads))) {
    for (const float v : normals(engine, static_cast<size_t>(scan.n_heads))) a.push_back(-std::exp(v));
    for (size_t i = 0; i < lengths.size(); ++i) {
      states.push_back(normals(engine, static_cast<size_t>(scan.n_heads * scan.d_state * scan.d_head)));
    }
  }
  int64_t rows() const { return sequences.back().first + sequences.back().count; }
  int64_t width() const { return shape.n_heads * shape.d_head + 2 * shape.n_groups * shape.d_state; }
  size_t outputs() const { return static_cast<size_t>(rows() * shape.n_heads * shape.d_head); }

  /// Results, then the states afterwards.
  std::vector<float> run(const std::vector<Pass>& passes) {
    DeviceRows<T> source(xbc, rows(), width(), width() + 2 * gap, gap);
    DeviceRows<T> steps(dt, rows(), shape.n_heads, shape.n_heads + 5, 2);
    DeviceRows<T> target(rows(), shape.n_heads * shape.d_head, shape.n_heads * shape.d_head + gap, 0);
    const DeviceVector<float> device_a(a);
    const DeviceVector<float> device_d(d);
    const DeviceVector<float> bias(dt_bias);
    auto memory = upload_states(states);
    for (const Pass& pass : passes) {
      PassLists lists(pass, memory);
      const auto n = static_cast<int64_t>(pass.size());
      DeviceVector<uint8_t> workspace(scan_chunked_workspace_bytes(shape, rows(), n));
      const ScanArguments<T> arguments{
          source.data(), source.stride(), steps.data(),        steps.stride(),  lists.rows.data(), n,
          rows(),        lists.max_count, lists.states.data(), device_a.data(), device_d.data(),   bias.data(),
          shape,         target.data(),   target.stride(),     workspace.data()};
      if (form == ScanForm::chunked) {
        scan_chunked(nullptr, arguments);
      } else {
        scan_recurrent(nullptr, arguments);
      }
      BAMBA_CUDA_CHECK(cudaDeviceSynchronize());
    }
    auto all = target.values();
    for (const auto& state : memory) {
      const auto values = state->host();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  /// The same by the reference; beside each value the same sums with all terms taken positive, the scale of its error.
  void expect(std::vector<double>& values, std::vector<double>& scales) {
    auto positive_xbc = xbc;
    auto positive_d = d;
    for (float& v : positive_xbc) v = std::abs(v);
    for (float& v : positive_d) v = std::abs(v);
    const Matrix steps{dt.data(), rows(), shape.n_heads, shape.n_heads};
    const Matrix inputs{xbc.data(), rows(), width(), width()};
    const Matrix positive_inputs{positive_xbc.data(), rows(), width(), width()};
    std::vector<double> state_values;
    std::vector<double> state_scales;
    for (size_t s = 0; s < sequences.size(); ++s) {
      reference::Table state(states[s].begin(), states[s].end());
      reference::Table magnitude = state;
      for (double& v : magnitude) v = std::abs(v);
      const reference::ScanInputs in{inputs, steps, sequences[s], a.data(), d.data(), dt_bias.data(), shape};
      const reference::ScanInputs positive{positive_inputs,   steps,          sequences[s], a.data(),
                                           positive_d.data(), dt_bias.data(), shape};
      const auto y = reference::scan_recurrence(in, state);
      const auto y_scale = reference::scan_recurrence(positive, magnitude);
      values.insert(values.end(), y.begin(), y.end());
      scales.insert(scales.end(), y_scale.begin(), y_scale.end());
      state_values.insert(state_values.end(), state.begin(), state.end());
      state_scales.insert(state_scales.end(), magnitude.begin(), magnitude.end());
    }
    values.insert(values.end(), state_values.begin(), state_values.end());
    scales.insert(scales.end(), state_scales.begin(), state_scales.end());
  }

  std::string name() const {
    return "heads " + std::to_string(shape.n_heads) + " d_head " + std::to_string(shape.d_head) + " groups " +
           std::to_string(shape.n_groups) + " d_state " + std::to_string(shape.d_state);
  }

  /// `terms`: relative error of a term of the sums.
  void check(double terms) {
    std::vector<double> values;
    std::vector<double> scales;
    expect(values, scales);
    const auto got = run(one_pass(sequences));
    ASSERT_EQ(got.size(), values.size());
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double rounding = i < outputs() ? 1.01 * kRounding<T> : 0;  // states are f32
      ASSERT_NEAR(got[i], values[i], terms * scales[i] + rounding * std::abs(values[i]) + 1e-30)
          << name() << " at " << i << (i < outputs() ? " of the outputs" : " of the states");
      difference += (got[i] - values[i]) * (got[i] - values[i]);
      norm += values[i] * values[i];
    }
    // Errors of terms do not all point the same way.
    ASSERT_LE(std::sqrt(difference), (terms + kRounding<T>)*std::sqrt(norm)) << name();
  }
};

// d_state + d_head terms a sum in f32 and a decay whose exponent (up to about 100 before it no longer matters) carries
// 2^-24.
constexpr double kRecurrentTerms = 2e-5;
// A term's own rounding to bf16 (of decayed scores, of the entering state), that of the inputs which made the state,
// and 3e-4 of sums of decays, in f32, that may be thousands.
constexpr double kChunkedTerms = 2.2 * 0x1p-8;

template <typename T>
void expect_recurrence(unsigned seed) {
  std::mt19937 engine(seed);
  for (int i = 0; i < 40; ++i) {
    const int64_t groups = 1 + i % 3;
    const ScanShape shape{groups * between(engine, 1, 3),
                          i % 2 == 0 ? between(engine, 1, 80) : 4 * between(engine, 1, 33),
                          groups,
                          between(engine, 1, 140),
                          64,
                          0.0f,
                          kInfinity};
    ScanCase<T> c(engine, shape, {between(engine, 1, 30), 1, 0, between(engine, 1, 20)},
                  {0, between(engine, 0, 700), 3, between(engine, 0, 300)});
    c.gap = i % 4;
    c.check(kRecurrentTerms);
    if (::testing::Test::HasFatalFailure()) return;
  }
  // States that need other deals of rows and columns: long, wide, and both.
  for (const auto& [head, state] :
       {std::pair{64, 128}, {64, 256}, {128, 256}, {63, 256}, {8, 600}, {3, 700}, {1, 4096}, {2, 2200}, {16, 4096}}) {
    ScanCase<T> c(engine, {2, head, 1, state, 64, 0.0f, kInfinity}, {9, 1}, {0, 5});
    c.check(kRecurrentTerms);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(CudaScan, RecurrenceMatchesReferenceF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_recurrence<float>(30);
}
TEST(CudaScan, RecurrenceMatchesReferenceBf16) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_recurrence<__nv_bfloat16>(31);
}

TEST(CudaScan, ChunkedMatchesReference) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(32);
  for (int i = 0; i < 12; ++i) {
    const int64_t groups = 1 + i % 3;
    const ScanShape shape{groups * between(engine, 1, 2), 64,   groups,   i % 2 == 0 ? 128 : 64,
                          i % 4 == 0 ? 64 : 256,          0.0f, kInfinity};
    ScanCase<__nv_bfloat16> c(engine, shape, {between(engine, 1, 200), 1, 0, 64, between(engine, 60, 70)},
                              {0, between(engine, 0, 700), 3, 128, between(engine, 0, 300)});
    c.form = ScanForm::chunked;
    c.check(kChunkedTerms);
    if (HasFatalFailure()) return;
  }
}

TEST(CudaScan, ChunkedLongPromptsOfManyHeads) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(33);
  // Slow decays, as trained models have them, so that early tokens are still felt at the end.
  ScanCase<__nv_bfloat16> c(engine, {40, 64, 1, 128, 256, 0.0f, kInfinity}, {321, 130}, {0, 77});
  for (float& v : c.a) v *= 0.02f;
  for (float& v : c.dt_bias) v -= 3;
  c.form = ScanForm::chunked;
  c.check(kChunkedTerms);
}

/// Other shapes, f32, and rows that are not aligned go to the recurrence.
TEST(CudaScan, ChunkedOtherwiseIsTheRecurrence) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(34);
  const auto expect_equal = [](auto& c) {
    const auto expected = c.run(one_pass(c.sequences));
    c.form = ScanForm::chunked;
    ASSERT_TRUE(same_bits(c.run(one_pass(c.sequences)), expected));
  };
  ScanCase<float> f32(engine, {2, 64, 1, 128, 256, 0.0f, kInfinity}, {70}, {0});
  expect_equal(f32);
  ScanCase<__nv_bfloat16> wide(engine, {2, 80, 1, 128, 256, 0.0f, kInfinity}, {70}, {0});
  expect_equal(wide);
  ScanCase<__nv_bfloat16> chunks(engine, {2, 64, 1, 128, 96, 0.0f, kInfinity}, {70}, {0});
  expect_equal(chunks);
  ScanCase<__nv_bfloat16> odd(engine, {2, 64, 1, 128, 256, 0.0f, kInfinity}, {70}, {0});
  odd.gap = 3;
  expect_equal(odd);
}

template <typename T>
void expect_limits(ScanForm form, double terms) {
  std::mt19937 engine(35);
  for (const auto& [low, high] : {std::pair{0.001f, 0.1f}, {0.5f, 0.5f}, {0.3f, kInfinity}, {0.0f, 1.0f}}) {
    ScanCase<T> c(engine, {3, 64, 1, 64, 64, low, high}, {133}, {0});
    for (size_t r = 0; r < 133; ++r) c.dt[r * 3] *= 8;
    c.form = form;
    c.check(terms);
    if (::testing::Test::HasFatalFailure()) return;
  }
}
TEST(CudaScan, TimeStepLimitClamps) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_limits<float>(ScanForm::recurrent, kRecurrentTerms);
  expect_limits<__nv_bfloat16>(ScanForm::chunked, kChunkedTerms);
}

template <typename T>
void expect_extremes(ScanForm form, double terms) {
  std::mt19937 engine(36);
  ScanCase<T> c(engine, {4, 64, 1, 64, 64, 0.0f, kInfinity}, {150, 20}, {5, 0});
  c.a = {-1e-6f, -1.0f, -16.0f, -1000.0f};
  c.dt_bias = {0, 0, 0, 0};
  const float extremes[] = {-100, 100, 19.875f, 20.125f, -20, 0, -3};
  for (float& v : c.dt) v = extremes[engine() % 7];
  c.form = form;
  c.check(terms);
}
TEST(CudaScan, ExtremeTimeStepsAndDecays) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_extremes<float>(ScanForm::recurrent, kRecurrentTerms);
  expect_extremes<__nv_bfloat16>(ScanForm::chunked, kChunkedTerms);
}

template <typename T>
void expect_same_however_run(std::mt19937& engine, ScanCase<T>& c, int64_t step) {
  const auto expected = c.run(one_pass(c.sequences));
  ASSERT_TRUE(same_bits(c.run(one_pass(c.sequences)), expected)) << c.name();
  ASSERT_TRUE(same_bits(c.run(cut_passes(engine, c.sequences, step)), expected)) << c.name();
  if (step == 1) {
    ASSERT_TRUE(same_bits(c.run(decoding_passes(c.sequences)), expected)) << c.name();
  }
}

template <typename T>
void expect_recurrence_invariant(unsigned seed) {
  std::mt19937 engine(seed);
  for (const auto& [head, state] : {std::pair{64, 128}, {31, 33}, {24, 16}, {80, 128}}) {
    ScanCase<T> c(engine, {6, head, 2, state, 64, 0.0f, kInfinity}, {between(engine, 1, 80), 1, 9, 0, 20},
                  {0, 9, 250, 1, 3});
    expect_same_however_run(engine, c, 1);
    if (::testing::Test::HasFatalFailure()) return;
  }
}
TEST(CudaScan, RecurrenceAnyCutAnyCompanyF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_recurrence_invariant<float>(37);
}
TEST(CudaScan, RecurrenceAnyCutAnyCompanyBf16) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_recurrence_invariant<__nv_bfloat16>(38);
}

TEST(CudaScan, ChunkedFormMayBeCutAtBlockBoundaries) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(39);
  for (const int64_t state : {64, 128}) {
    std::vector<int64_t> lengths{700, 1, 330, 64};
    std::vector<int64_t> starts{0, 63, 50, 64};
    // Over 32 sequences: more than one round of the search for a block's owner.
    for (int i = 0; i < 40; ++i) {
      lengths.push_back(between(engine, 0, 90));
      starts.push_back(between(engine, 0, 300));
    }
    ScanCase<__nv_bfloat16> c(engine, {4, 64, 2, state, 256, 0.0f, kInfinity}, lengths, starts);
    c.form = ScanForm::chunked;
    expect_same_however_run(engine, c, 64);
    if (HasFatalFailure()) return;
  }
}

/// What a captured graph does is decided by the lists in device memory when it is replayed, not when it was captured.
void expect_graph_follows_lists(ScanForm form, int64_t tokens) {
  std::mt19937 engine(40);
  ScanCase<__nv_bfloat16> c(engine, {4, 64, 1, 128, 256, 0.0f, kInfinity}, {tokens, tokens, tokens}, {0, 64, 5});
  c.form = form;
  const int64_t some = (tokens + 1) / 2;
  const Pass later{{0, {0, some, 0}}, {1, {tokens, 0, 64}}, {2, {2 * tokens, tokens, 5}}};
  const auto expected = c.run({later});

  const int64_t rows = c.rows();
  DeviceRows<__nv_bfloat16> source(c.xbc, rows, c.width(), c.width(), 0);
  DeviceRows<__nv_bfloat16> steps(c.dt, rows, c.shape.n_heads, c.shape.n_heads, 0);
  DeviceRows<__nv_bfloat16> target(rows, c.shape.n_heads * c.shape.d_head, c.shape.n_heads * c.shape.d_head, 0);
  const DeviceVector<float> a(c.a);
  const DeviceVector<float> d(c.d);
  const DeviceVector<float> bias(c.dt_bias);
  auto memory = upload_states(c.states);
  PassLists lists(one_pass(c.sequences)[0], memory);
  DeviceVector<uint8_t> workspace(scan_chunked_workspace_bytes(c.shape, rows, 3));
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  BAMBA_CUDA_CHECK(cudaStreamCreate(&stream));
  BAMBA_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const ScanArguments<__nv_bfloat16> arguments{
      source.data(), source.stride(), steps.data(),        steps.stride(),  lists.rows.data(), 3,
      rows,          tokens,          lists.states.data(), a.data(),        d.data(),          bias.data(),
      c.shape,       target.data(),   target.stride(),     workspace.data()};
  if (form == ScanForm::chunked) {
    scan_chunked(stream, arguments);
  } else {
    scan_recurrent(stream, arguments);
  }
  BAMBA_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  BAMBA_CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  const PassLists changed(later, memory);
  BAMBA_CUDA_CHECK(
      cudaMemcpy(lists.rows.data(), changed.rows.data(), 3 * sizeof(SequenceRows), cudaMemcpyDeviceToDevice));
  BAMBA_CUDA_CHECK(cudaGraphLaunch(executable, stream));
  BAMBA_CUDA_CHECK(cudaStreamSynchronize(stream));
  auto got = target.values();
  for (const auto& state : memory) {
    const auto values = state->host();
    got.insert(got.end(), values.begin(), values.end());
  }
  EXPECT_TRUE(same_bits(got, expected));
  BAMBA_CUDA_CHECK(cudaGraphExecDestroy(executable));
  BAMBA_CUDA_CHECK(cudaGraphDestroy(graph));
  BAMBA_CUDA_CHECK(cudaStreamDestroy(stream));
}
TEST(CudaScan, CapturedGraphsFollowTheLists) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_graph_follows_lists(ScanForm::recurrent, 1);
  expect_graph_follows_lists(ScanForm::recurrent, 20);
  expect_graph_follows_lists(ScanForm::chunked, 150);
}

TEST(CudaScan, RefusesStatesThatAreTooLong) {
  BAMBA_SKIP_WITHOUT_GPU();
  ScanArguments<float> arguments{};
  arguments.n_sequences = 1;
  arguments.max_count = 1;
  arguments.shape = {1, 4, 1, 4097, 64, 0.0f, kInfinity};
  EXPECT_THROW(scan_recurrent(nullptr, arguments), Error);
}

}  // namespace
}  // namespace bamba::backend::cuda
