// The operations that carry a sequence's state, on the GPU against the CPU backend, over random ragged batches: any
// number of sequences, of tokens they have and get, in any state.
#include <algorithm>
#include <cmath>

#include "backend/backend.h"
#include "cuda/device.h"
#include "cuda/device_rows.h"
#include "model/random_model.h"

namespace bamba::backend {
namespace {

using cuda::testing::expect_close;
using cuda::testing::normals;
using cuda::testing::Rows;
using cuda::testing::States;
using test::Rng;

/// Of the norm of a result. f32: sums of up to some hundred terms in another order, and exponentials of sums of decays
/// up to a few hundred, which carry 2^-24 of themselves; seen: up to 5e-7.
constexpr double kF32 = 2e-6;
/// bf16: one rounding of a result is off by up to 2^-8 of it, but by 0.4 of that in the root of the mean square. The
/// second is for results that were rounded on the way as well, with errors independent of each other (squares add up):
/// attention's weights; in the scan's chunked form the decayed scores, the entering state and what makes the next.
constexpr double kBf16Once = 0x1p-9;
constexpr double kBf16Thrice = 0.7 * 0x1p-8;

struct Devices {
  std::unique_ptr<Backend> cpu = make_cpu_backend(2);
  std::unique_ptr<Backend> gpu;

  explicit Devices(Element element) {
    CudaOptions options;
    options.activations = element == Element::bf16 ? ActivationFormat::bf16 : ActivationFormat::f32;
    options.memory = size_t{1} << 30;
    gpu = make_cuda_backend(options);
  }
  bool narrow() const { return gpu->intermediate_element() == Element::bf16; }
  double tolerance(double of_bf16) const { return narrow() ? of_bf16 : kF32; }
  /// Values that a matrix of the GPU's element holds exactly.
  std::vector<float> values(std::mt19937& engine, int64_t count) const {
    auto out = normals(engine, static_cast<size_t>(count));
    if (narrow()) {
      for (float& value : out) value = to_float(to_bf16(value));
    }
    return out;
  }
};

std::vector<SequenceRows> random_batch(Rng& rng) {
  std::vector<SequenceRows> batch;
  int64_t first = 0;
  const int64_t sequences = rng.between(1, 6);
  for (int64_t i = 0; i < sequences; ++i) {
    const int64_t count = rng.one_of<int64_t>({1, 1, 2, 7, 17, 63, 64, 65, 130, rng.between(1, 200)});
    const int64_t start = rng.one_of<int64_t>({0, 0, 1, 63, 64, 100, rng.between(0, 300)});
    batch.push_back({first, count, start});
    first += count;
  }
  return batch;
}

int64_t rows_of(const std::vector<SequenceRows>& batch) {
  return batch.back().first + batch.back().count;
}

std::vector<std::vector<float>> random_states(std::mt19937& engine, size_t sequences, int64_t floats) {
  std::vector<std::vector<float>> out;
  for (size_t i = 0; i < sequences; ++i) out.push_back(normals(engine, static_cast<size_t>(floats)));
  return out;
}

class CudaOperations : public ::testing::TestWithParam<int> {
 protected:
  uint64_t seed() const { return static_cast<uint64_t>(GetParam()); }
};

TEST_P(CudaOperations, ConvolutionIsTheCpus) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(seed());
  std::mt19937 engine(static_cast<unsigned>(seed()));
  for (const Element element : {Element::f32, Element::bf16}) {
    const Devices devices(element);
    const auto batch = random_batch(rng);
    const ConvShape shape{rng.one_of<int64_t>({8, 64, 136, 500}), rng.between(1, 5)};
    const auto in = devices.values(engine, rows_of(batch) * shape.channels);
    const auto windows = random_states(engine, batch.size(), shape.channels * shape.width);
    const auto weight = normals(engine, static_cast<size_t>(shape.channels * shape.width));
    const auto bias = normals(engine, static_cast<size_t>(shape.channels));
    const bool has_bias = rng.between(0, 1) == 1;
    const auto run = [&](Backend& device) {
      const Rows source(device, in, shape.channels);
      const Rows target(device, rows_of(batch), shape.channels);
      const States state(device, windows);
      const Buffer taps = device.upload_vector(weight);
      const Buffer shift = device.upload_vector(bias);
      device.causal_conv(source.matrix, batch, state.pointers, taps.floats(), has_bias ? shift.floats() : nullptr,
                         shape, Activation::silu, target.matrix);
      return std::pair{target.host(device), state.host(device)};
    };
    const auto expected = run(*devices.cpu);
    const auto got = run(*devices.gpu);
    expect_close(got.first, expected.first, devices.tolerance(kBf16Once), "outputs");
    EXPECT_EQ(got.second, expected.second) << "windows are copies of inputs";
  }
}

TEST_P(CudaOperations, ScanIsTheCpus) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(seed() + 100);
  std::mt19937 engine(static_cast<unsigned>(seed()));
  for (const Element element : {Element::f32, Element::bf16}) {
    const Devices devices(element);
    // The shape of every published model, and any other.
    for (const bool usual : {true, false}) {
      const auto batch = random_batch(rng);
      const int64_t groups = rng.between(1, 2);
      const ScanShape shape{groups * rng.between(1, 3),
                            usual ? 64 : rng.between(1, 70),
                            groups,
                            usual ? rng.one_of<int64_t>({64, 128}) : rng.between(1, 90),
                            256,
                            0.0F,
                            INFINITY};
      const int64_t inner = shape.n_heads * shape.d_head;
      const int64_t width = inner + 2 * groups * shape.d_state;
      const auto xbc = devices.values(engine, rows_of(batch) * width);
      const auto dt = devices.values(engine, rows_of(batch) * shape.n_heads);
      const auto states = random_states(engine, batch.size(), inner * shape.d_state);
      const auto d = normals(engine, static_cast<size_t>(shape.n_heads));
      const auto dt_bias = normals(engine, static_cast<size_t>(shape.n_heads));
      std::vector<float> a;
      for (const float value : normals(engine, static_cast<size_t>(shape.n_heads))) a.push_back(-std::exp(value));
      const auto run = [&](Backend& device, ScanForm form) {
        const Rows inputs(device, xbc, width);
        const Rows steps(device, dt, shape.n_heads);
        const Rows target(device, rows_of(batch), inner);
        const States state(device, states);
        const Buffer decay = device.upload_vector(a);
        const Buffer skip = device.upload_vector(d);
        const Buffer shift = device.upload_vector(dt_bias);
        device.selective_scan(inputs.matrix, steps.matrix, batch, state.pointers, decay.floats(), skip.floats(),
                              shift.floats(), shape, form, target.matrix);
        return std::pair{target.host(device), state.host(device)};
      };
      const auto expected = run(*devices.cpu, ScanForm::recurrent);
      for (const ScanForm form : {ScanForm::recurrent, ScanForm::chunked}) {
        SCOPED_TRACE(form == ScanForm::chunked ? "chunked" : "recurrent");
        const auto got = run(*devices.gpu, form);
        const bool recurrent = form == ScanForm::recurrent;
        expect_close(got.first, expected.first, devices.tolerance(recurrent ? kBf16Once : kBf16Thrice), "outputs");
        // The recurrence's states are f32 all the way.
        expect_close(got.second, expected.second, recurrent ? kF32 : devices.tolerance(kBf16Thrice), "states");
      }
    }
  }
}

TEST_P(CudaOperations, AttentionIsTheCpus) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(seed() + 200);
  std::mt19937 engine(static_cast<unsigned>(seed()));
  for (const Element element : {Element::f32, Element::bf16}) {
    const Devices devices(element);
    const auto batch = random_batch(rng);
    const int64_t kv_heads = rng.between(1, 2);
    const int64_t dim = rng.one_of<int64_t>({64, 128, 24});
    const KvFormat kv = devices.narrow() ? KvFormat::bf16 : KvFormat::f32;
    const AttentionShape shape{kv_heads * rng.between(1, 4), kv_heads, dim, dim / 2, kv};
    const int64_t width = shape.n_heads * dim;
    const int64_t kv_width = kv_heads * dim;
    const auto queries = devices.values(engine, rows_of(batch) * width);
    const auto keys = devices.values(engine, rows_of(batch) * kv_width);
    const auto values = devices.values(engine, rows_of(batch) * kv_width);
    std::vector<std::vector<float>> old_keys;
    std::vector<std::vector<float>> old_values;
    for (const SequenceRows& rows : batch) {
      old_keys.push_back(devices.values(engine, rows.start * kv_width));
      old_values.push_back(devices.values(engine, rows.start * kv_width));
    }
    const auto run = [&](Backend& device) {
      std::vector<Buffer> memory;
      std::vector<std::vector<float*>> tables(batch.size());
      std::vector<float* const*> pages;
      for (size_t s = 0; s < batch.size(); ++s) {
        const int64_t page_tokens = device.kv_page_tokens();
        const int64_t tokens = batch[s].start + batch[s].count;
        for (int64_t t = 0; t < tokens; t += page_tokens) {
          memory.push_back(device.allocate(device.kv_page_bytes(shape)));
          tables[s].push_back(memory.back().floats());
        }
        device.kv_write(tables[s].data(), batch[s].start, shape, old_keys[s].data(), old_values[s].data());
        pages.push_back(tables[s].data());
      }
      const Rows q(device, queries, width);
      const Rows k(device, keys, kv_width);
      const Rows v(device, values, kv_width);
      const Rows target(device, rows_of(batch), width);
      device.kv_append(k.matrix, v.matrix, batch, pages, shape);
      device.attention(q.matrix, batch, pages, shape, target.matrix);
      std::vector<float> held;
      for (size_t s = 0; s < batch.size(); ++s) {
        const int64_t tokens = batch[s].start + batch[s].count;
        std::vector<float> both(static_cast<size_t>(2 * tokens * kv_width));
        device.kv_read(tables[s].data(), tokens, shape, both.data(), both.data() + tokens * kv_width);
        held.insert(held.end(), both.begin(), both.end());
      }
      return std::pair{target.host(device), held};
    };
    const auto expected = run(*devices.cpu);
    const auto got = run(*devices.gpu);
    expect_close(got.first, expected.first, devices.tolerance(kBf16Thrice), "outputs");
    EXPECT_EQ(got.second, expected.second) << "keys and values are copies of what was given";
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CudaOperations, ::testing::Range(0, 8));

}  // namespace
}  // namespace bamba::backend
