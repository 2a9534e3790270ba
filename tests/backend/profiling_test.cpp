// The decorator that profiles: it counts what is there, and changes nothing.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "backend/operation_cost.h"
#include "backend/operation_log.h"
#include "backend/profiling_backend.h"

namespace bamba::backend {
namespace {

std::map<std::string, OperationProfile> by_name(const Profile& profile) {
  std::map<std::string, OperationProfile> out;
  for (const OperationProfile& operation : profile.operations()) out[operation.name] = operation;
  return out;
}

TEST(Profile, AddsUpAndForgets) {
  Profile profile;
  profile.add("b", 1, 10, 100, Arithmetic::f32);
  profile.add("a", 2, 20, 200, Arithmetic::int8);
  profile.add("b", 3, 30, 300, Arithmetic::f32);
  const auto operations = profile.operations();
  ASSERT_EQ(operations.size(), 2U);
  EXPECT_EQ(operations[0].name, "b");  // the order of first calls
  EXPECT_EQ(operations[0].calls, 2);
  EXPECT_EQ(operations[0].seconds, 4);
  EXPECT_EQ(operations[0].bytes, 40);
  EXPECT_EQ(operations[0].flops, 400);
  EXPECT_EQ(operations[1].arithmetic, Arithmetic::int8);
  profile.reset();
  EXPECT_TRUE(profile.operations().empty());
}

TEST(ProfilingBackend, CountsALinearLayer) {
  auto profile = std::make_shared<Profile>();
  const auto device = make_profiling_backend(make_cpu_backend(1), profile);
  constexpr int64_t kRows = 3;
  constexpr int64_t kIn = 128;
  constexpr int64_t kOut = 64;
  const auto weight = device->pack_linear(Tensor::zeros(DType::bf16, {kOut, kIn}), WeightFormat::bf16);
  weight->set_label("mamba.in_proj");
  std::vector<float> in(kRows * kIn, 1.0f);
  std::vector<float> out(kRows * kOut);
  device->linear({in.data(), kRows, kIn, kIn}, *weight, nullptr, false, {out.data(), kRows, kOut, kOut});
  auto operations = by_name(*profile);
  ASSERT_EQ(operations.count("linear mamba.in_proj"), 1U);
  const OperationProfile first = operations["linear mamba.in_proj"];
  EXPECT_EQ(first.calls, 1);
  EXPECT_GT(first.seconds, 0);
  EXPECT_EQ(first.bytes, 2 * kOut * kIn + 4 * kRows * (kIn + kOut));  // 16-bit weights, f32 activations
  EXPECT_EQ(first.flops, 2 * kRows * kOut * kIn);

  std::vector<float> bias(kOut);
  device->linear({in.data(), kRows, kIn, kIn}, *weight, bias.data(), true, {out.data(), kRows, kOut, kOut});
  operations = by_name(*profile);
  const OperationProfile both = operations["linear mamba.in_proj"];
  EXPECT_EQ(both.calls, 2);
  // What is accumulated to is read as well, and the bias.
  EXPECT_EQ(both.bytes - first.bytes, first.bytes + 4 * kRows * kOut + 4 * kOut);
  EXPECT_EQ(both.flops - first.flops, first.flops + 2 * kRows * kOut);
}

/// Operation n takes n seconds, n counted from the first one ever begun.
class CountingTimer final : public OperationTimer {
 public:
  explicit CountingTimer(int& waits) : waits_(waits) {}
  void begin() override { ++begun_; }
  void end() override { ended_.push_back(begun_); }
  void collect(std::vector<double>& seconds) override {
    ++waits_;
    seconds.insert(seconds.end(), ended_.begin(), ended_.end());
    ended_.clear();
  }
  void forget() override { ended_.clear(); }

 private:
  int& waits_;
  int begun_ = 0;
  std::vector<double> ended_;
};

TEST(OperationLog, TimesReachTheProfileWhenTheyAreAskedFor) {
  auto profile = std::make_shared<Profile>();
  int waits = 0;
  OperationLog log(std::make_unique<CountingTimer>(waits), profile);
  for (const char* name : {"a", "b", "a"}) {
    log.begin();
    log.end(name, {10, 100}, Arithmetic::bf16);
  }
  EXPECT_TRUE(profile->operations().empty());
  log.deliver();
  log.deliver();  // nothing is left to wait for
  EXPECT_EQ(waits, 1);
  auto operations = by_name(*profile);
  EXPECT_EQ(operations["a"].calls, 2);
  EXPECT_EQ(operations["a"].seconds, 1 + 3);
  EXPECT_EQ(operations["a"].bytes, 20);
  EXPECT_EQ(operations["a"].flops, 200);
  EXPECT_EQ(operations["a"].arithmetic, Arithmetic::bf16);
  EXPECT_EQ(operations["b"].seconds, 2);
}

TEST(OperationLog, AfterAnErrorOnlyWhatFollowsCounts) {
  auto profile = std::make_shared<Profile>();
  int waits = 0;
  OperationLog log(std::make_unique<CountingTimer>(waits), profile);
  log.begin();
  log.end("before", {}, Arithmetic::f32);
  log.begin();
  log.drop();
  log.begin();
  log.end("after", {}, Arithmetic::f32);
  log.deliver();
  const auto operations = profile->operations();
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0].name, "after");
  EXPECT_EQ(operations[0].seconds, 3);
}

TEST(OperationLog, ManyOperationsAreDeliveredOnTheWay) {
  auto profile = std::make_shared<Profile>();
  int waits = 0;
  OperationLog log(std::make_unique<CountingTimer>(waits), profile);
  for (size_t i = 0; i < 2 * OperationLog::kMostPending + 1; ++i) {
    log.begin();
    log.end("a", {}, Arithmetic::f32);
  }
  EXPECT_EQ(waits, 2);
  EXPECT_EQ(profile->operations()[0].calls, 2 * static_cast<int64_t>(OperationLog::kMostPending));
}

TEST(OperationCost, HalvesMoveHalf) {
  // The residual stream, the weights of norms and the states stay f32.
  EXPECT_EQ(rms_norm_cost(3, 8).bytes - rms_norm_cost(3, 8, Element::bf16).bytes, 2 * 24);
  EXPECT_EQ(gated_rms_norm_cost(3, 8, Element::bf16).bytes, 2 * 3 * 24 + 4 * 8);
  EXPECT_EQ(gated_activation_cost(3, 8, Element::bf16).bytes, 2 * 3 * 24);
  const ScanShape scan{4, 8, 1, 16, 64, 0, 1};
  EXPECT_EQ(selective_scan_cost(5, 2, scan).bytes - selective_scan_cost(5, 2, scan, Element::bf16).bytes,
            2 * 5 * (32 + 32 + 4 + 32));
  const AttentionShape attention{2, 1, 4, 2};
  const SequenceRows rows[] = {{0, 3, 4}};
  EXPECT_EQ(attention_cost(rows, 32, attention, Element::bf16).bytes, 2 * 2 * 3 * 8 + 7 * 32);
}

TEST(OperationCost, ScanReadsAndWritesEachStateOnce) {
  const ScanShape shape{4, 8, 1, 16, 64, 0, 1};
  const OperationCost one = selective_scan_cost(1, 1, shape);
  const double state = 4.0 * 4 * 8 * 16;
  EXPECT_EQ(one.bytes, 2 * state + 4 * (32 + 32 + 4 + 32) + 4 * 3 * 4);
  EXPECT_EQ(one.flops, 5 * 4 * 8 * 16 + 3 * 32 + 6 * 4);
  // Ten tokens of one sequence move its state once; ten sequences of one token ten times.
  EXPECT_EQ(selective_scan_cost(10, 10, shape).bytes - selective_scan_cost(10, 1, shape).bytes, 9 * 2 * state);
}

TEST(OperationCost, AttentionCountsTheCausalTriangle) {
  const AttentionShape shape{2, 1, 4, 2};
  const double pair = 4 * 8 + 4 * 2;
  const SequenceRows whole[] = {{0, 3, 0}};
  const SequenceRows later[] = {{0, 1, 5}};
  EXPECT_EQ(attention_cost(whole, 32, shape).flops, 6 * pair);
  EXPECT_EQ(attention_cost(whole, 32, shape).bytes, 2 * 4 * 3 * 8 + 3 * 32);
  EXPECT_EQ(attention_cost(later, 32, shape).flops, 6 * pair);
  EXPECT_EQ(attention_cost(later, 32, shape).bytes, 2 * 4 * 8 + 6 * 32);
}

}  // namespace
}  // namespace bamba::backend
