// The same results from every instruction set: to the bit among those with FMA, within rounding without.
#include "backend/cpu/targets.h"
// After targets.h.
#include <hwy/highway.h>

#include <cstring>

#include "backend/cpu/quantized.h"
#include "backend/support.h"

namespace bamba::backend {
namespace {

using testing::Random;
using testing::Rows;

/// Makes dispatch choose `target` for as long as it lives.
class ForceTarget {
 public:
  explicit ForceTarget(int64_t target) { set(target); }
  ~ForceTarget() { set(0); }
  ForceTarget(const ForceTarget&) = delete;
  ForceTarget& operator=(const ForceTarget&) = delete;

 private:
  static void set(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

/// One result of every operation.
std::vector<float> all_operations() {
  const auto cpu = make_cpu_backend(2);
  Random random(50);
  std::vector<float> all;
  const auto keep = [&](const std::vector<float>& values) { all.insert(all.end(), values.begin(), values.end()); };

  for (const auto format :
       {WeightFormat::f32, WeightFormat::bf16, WeightFormat::f16, WeightFormat::q8, WeightFormat::q4}) {
    const auto weight = cpu->pack_linear(Tensor::from(random.normals(150 * 333), {150, 333}), format);
    for (const int64_t rows : {1, 3, 7, 12, 70}) {
      Rows x = Rows::normals(random, rows, 333);
      Rows y = Rows::normals(random, rows, 150);
      cpu->linear(x.view(), *weight, random.normals(150).data(), true, y.view());
      keep(y.values());
    }
  }
  {
    Rows x = Rows::normals(random, 9, 203);
    Rows gate = Rows::normals(random, 9, 203, 5);
    const auto weight = random.normals(203);
    cpu->rms_norm(x.view(), weight.data(), 1e-5f, x.view());
    keep(x.values());
    cpu->gated_rms_norm(x.view(), gate.view(), weight.data(), 1e-5f, 7);
    keep(x.values());
    for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
      Rows g = gate;
      cpu->gated_activation(g.view(), x.view(), activation);
      keep(g.values());
    }
    cpu->rotate(x.view(), 7, 29, 14, random.normals(9 * 14).data());
    keep(x.values());
  }
  const SequenceRows rows[] = {{0, 100, 3}, {100, 1, 64}};
  {
    auto first = random.normals(4 * 90);
    auto second = random.normals(4 * 90);
    float* windows[] = {first.data(), second.data()};
    Rows in = Rows::normals(random, 101, 90);
    Rows out(101, 90);
    cpu->causal_conv(in.view(), rows, windows, random.normals(4 * 90).data(), random.normals(90).data(), {90, 4},
                     Activation::silu, out.view());
    keep(out.values());
  }
  for (const auto form : {ScanForm::recurrent, ScanForm::chunked}) {
    const ScanShape shape{4, 50, 2, 37, 32, 0.0f, 3.0f};
    auto first = random.normals(4 * 50 * 37);
    auto second = random.normals(4 * 50 * 37);
    float* states[] = {first.data(), second.data()};
    Rows xbc = Rows::normals(random, 101, 4 * 50 + 4 * 37);
    Rows dt = Rows::normals(random, 101, 4, 5);
    const std::vector<float> a = {-0.1f, -1, -4, -30};
    Rows out(101, 200);
    cpu->selective_scan(xbc.view(), dt.view(), rows, states, a.data(), random.normals(4).data(),
                        random.normals(4).data(), shape, form, out.view());
    keep(out.values());
    keep(first);
    keep(second);
  }
  for (const auto kv : {KvFormat::f32, KvFormat::bf16}) {
    const AttentionShape shape{6, 2, 20, 10, kv};
    std::vector<std::vector<float>> pages(4, std::vector<float>(cpu->kv_page_bytes(shape) / sizeof(float)));
    float* first[] = {pages[0].data(), pages[1].data()};
    float* second[] = {pages[2].data(), pages[3].data()};
    float* const* tables[] = {first, second};
    Rows keys = Rows::normals(random, 101, 40);
    Rows values = Rows::normals(random, 101, 40);
    Rows past = Rows::normals(random, 3 + 64, 40);
    Rows queries = Rows::normals(random, 101, 120, 3);
    Rows out(101, 120);
    const SequenceRows past_rows[] = {{0, 3, 0}, {3, 64, 0}};
    cpu->kv_append(past.view(), past.view(), past_rows, tables, shape);
    cpu->kv_append(keys.view(), values.view(), rows, tables, shape);
    cpu->attention(queries.view(), rows, tables, shape, out.view());
    keep(out.values());
    std::vector<float> weights(6 * 100 * 103);
    cpu->attention_weights(queries.view(), rows[0], first, shape, weights.data(), 100 * 103, 103);
    keep(weights);
  }
  return all;
}

bool supported(int64_t target) {
  return (hwy::SupportedTargets() & target) != 0;
}

TEST(CpuTargets, DispatchFollowsTheForcedTarget) {
  if ((HWY_TARGETS & HWY_SSE4) == 0) GTEST_SKIP() << "this architecture's kernels are compiled once";
  const std::string best(cpu_target_name());
  {
    const ForceTarget force(HWY_SSE4);
    EXPECT_EQ(cpu_target_name(), "SSE4");
  }
  EXPECT_EQ(cpu_target_name(), best);
}

TEST(CpuTargets, Avx2AndAvx512AgreeToTheBit) {
  if (!supported(HWY_AVX3) || !supported(HWY_AVX2)) GTEST_SKIP() << "this machine has no AVX-512";
  std::vector<float> narrow;
  {
    const ForceTarget force(HWY_AVX2);
    ASSERT_EQ(cpu_target_name(), "AVX2");
    narrow = all_operations();
  }
  const ForceTarget force(HWY_AVX3);
  ASSERT_EQ(cpu_target_name(), "AVX-512");
  const auto wide = all_operations();
  ASSERT_EQ(wide.size(), narrow.size());
  for (size_t i = 0; i < wide.size(); ++i) {
    ASSERT_EQ(std::memcmp(&wide[i], &narrow[i], sizeof(float)), 0) << i << ": " << wide[i] << " " << narrow[i];
  }
}

TEST(CpuTargets, DotProductInstructionsChangeNothing) {
  const auto best = all_operations();
  cpu::disable_vnni(true);
  const auto plain = all_operations();
  cpu::disable_vnni(false);
  ASSERT_EQ(best.size(), plain.size());
  for (size_t i = 0; i < best.size(); ++i) {
    ASSERT_EQ(std::memcmp(&best[i], &plain[i], sizeof(float)), 0) << i << ": " << best[i] << " " << plain[i];
  }
}

TEST(CpuTargets, Sse4AgreesWithinRounding) {
  if (!supported(HWY_AVX2)) GTEST_SKIP() << "this machine has no AVX2";
  std::vector<float> plain;
  {
    const ForceTarget force(HWY_SSE4);
    plain = all_operations();
  }
  const auto fused = all_operations();
  ASSERT_EQ(plain.size(), fused.size());
  // Each product is rounded once more: chains of up to 333 terms of order 1, summing to order 20.
  for (size_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(plain[i], fused[i], 1e-4 * (1 + std::abs(fused[i]))) << i;
}

}  // namespace
}  // namespace bamba::backend
