#include "backend/cuda/sampling.h"

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/device.h"
#include "generation/random.h"
#include "generation/sampler.h"
#include "generation/warpers.h"

namespace bamba::backend::cuda {
namespace {

using Bf16 = __nv_bfloat16;
using testing::DeviceVector;
using testing::normals;

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

template <typename Element>
struct Chosen {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
};

/// Rows [vocab] of logits, NaN between them.
template <typename Element>
Chosen<Element> choose(const std::vector<std::vector<float>>& rows, const std::vector<SamplingRow>& settings,
                       bool report_broken = false) {
  const size_t vocab = rows[0].size();
  const size_t stride = vocab + 3;
  std::vector<Element> logits(rows.size() * stride, Element(std::numeric_limits<float>::quiet_NaN()));
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t i = 0; i < vocab; ++i) logits[r * stride + i] = Element(rows[r][i]);
  }
  const DeviceVector<Element> device_logits(logits);
  const DeviceVector<SamplingRow> device_settings(settings);
  DeviceVector<int32_t> ids(rows.size());
  DeviceVector<float> logprobs(rows.size());
  sample<Element>(nullptr, {.logits = device_logits.data(),
                            .stride = static_cast<int64_t>(stride),
                            .rows = static_cast<int64_t>(rows.size()),
                            .vocab = static_cast<int64_t>(vocab),
                            .settings = settings.empty() ? nullptr : device_settings.data(),
                            .ids = ids.data(),
                            .logprobs = logprobs.data(),
                            .report_broken = report_broken});
  return {ids.host(), logprobs.host()};
}

double logprob(const std::vector<float>& row, int32_t id) {
  const double best = *std::ranges::max_element(row);
  double sum = 0;
  for (const float v : row) sum += std::exp(v - best);
  return row[static_cast<size_t>(id)] - best - std::log(sum);
}

std::vector<float> in_bf16(std::vector<float> row) {
  for (float& v : row) v = __bfloat162float(Bf16(v));
  return row;
}

TEST(CudaSampling, GreedyTakesTheLowestIdOfTheBest) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(31);
  for (const size_t vocab : {1, 33, 1000, 128256}) {
    std::vector<std::vector<float>> rows;
    for (int r = 0; r < 5; ++r) rows.push_back(in_bf16(normals(engine, vocab, 3)));
    if (vocab > 1) {
      rows[1][vocab - 1] = rows[1][vocab / 2] = 50;
      rows[2].assign(vocab, -7);
      rows[3].assign(vocab, kForbidden);
      rows[3][vocab - 2] = -100;
      rows[4].assign(vocab, -0.0F);
      rows[4][vocab - 1] = 0.0F;
    }
    const auto check = [&](const auto& got) {
      for (size_t r = 0; r < rows.size(); ++r) {
        EXPECT_EQ(got.ids[r], greedy_token(rows[r])) << "vocab " << vocab << " row " << r;
        EXPECT_NEAR(got.logprobs[r], logprob(rows[r], got.ids[r]), 2e-5);
      }
    };
    check(choose<float>(rows, {}));
    check(choose<Bf16>(rows, {}));
    check(choose<float>(rows, std::vector<SamplingRow>(rows.size(), {.top_p = 0.5, .temperature = 0, .top_k = 5})));
  }
}

WarperSettings host_settings(const SamplingRow& row, double slack) {
  WarperSettings out{.temperature = double{row.temperature}, .top_k = row.top_k, .top_p = row.top_p};
  if (row.top_p < 1) out.top_p = std::min(1.0, row.top_p + slack);
  if (row.min_p >= 0) out.min_p = double{row.min_p} * (1 - slack);
  return out;
}

std::vector<Candidate> candidates_of(std::vector<float> scores, const SamplingRow& row, double slack) {
  Warpers warpers(host_settings(row, slack));
  const auto kept = warpers.apply(scores);
  return {kept.begin(), kept.end()};
}

/// The id is one that the CPU may draw, at this number's place of the CPU's distribution.
void expect_like_cpu(const std::vector<float>& scores, const SamplingRow& row, int32_t id, double logprob_got) {
  const double uniform = row.uniform;
  const auto exact = candidates_of(scores, row, 0);
  const auto loose = candidates_of(scores, row, 2e-6);
  const auto is_it = [&](const Candidate& candidate) { return candidate.id == id; };
  ASSERT_TRUE(std::ranges::any_of(loose, is_it))
      << "token " << id << " cannot be drawn: vocab " << scores.size() << " temperature " << row.temperature
      << " top_k " << row.top_k << " top_p " << row.top_p << " min_p " << row.min_p;
  Sampler sampler;
  sampler.set(exact);
  double before = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double after = before + sampler.probability(i);
    if (exact[i].id == id) {
      // Exponentials in f32, and the candidates' weights that rounding may move over an edge of a filter.
      EXPECT_GE(uniform, before - 1e-5);
      EXPECT_LE(uniform, after + 1e-5);
    }
    before = after;
  }
  EXPECT_NEAR(logprob_got, logprob(scores, id), 2e-5);
}

TEST(CudaSampling, DrawsAsTheCpuDoes) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(32);
  uint32_t step = 0;
  for (const size_t vocab : {7, 1000, 50000, 128256}) {
    std::vector<std::vector<float>> rows;
    std::vector<SamplingRow> settings;
    for (const float temperature : {1.0F, 0.7F, 5.0F}) {
      for (const int32_t top_k : {0, 1, 50, 1000, 3000}) {
        for (const double top_p : {1.0, 0.9, 0.2, 0.999}) {
          for (const float min_p : {-1.0F, 0.1F}) {
            if (vocab > 10000 && (top_k == 1000 || top_k == 1) && min_p > 0) continue;
            // Scores with a few equals (bf16), with thousands (whole numbers), and with forbidden tokens.
            auto row = in_bf16(normals(engine, vocab, step % 4 == 0 ? 1.0F : 3.0F));
            if (step % 3 == 1) {
              for (float& v : row) v = std::round(v);
            }
            if (step % 3 == 2) {
              for (size_t i = 0; i < vocab; i += 2) row[i] = kForbidden;
            }
            rows.push_back(row);
            settings.push_back({.uniform = uniform_draw(0x123456789ABCDEF, 3, 1, step++),
                                .top_p = top_p,
                                .temperature = temperature,
                                .top_k = top_k,
                                .min_p = min_p});
          }
        }
      }
    }
    const auto in_f32 = choose<float>(rows, settings);
    for (size_t r = 0; r < rows.size(); ++r) {
      expect_like_cpu(rows[r], settings[r], in_f32.ids[r], in_f32.logprobs[r]);
    }
    EXPECT_EQ(in_f32.ids, choose<Bf16>(rows, settings).ids) << "the same logits in bf16";
    EXPECT_EQ(in_f32.ids, choose<float>(rows, settings).ids) << "another run";
    const auto alone = choose<float>({rows.back()}, {settings.back()});
    EXPECT_EQ(alone.ids[0], in_f32.ids.back()) << "alone";
  }
}

TEST(CudaSampling, FollowsTheDistribution) {
  BAMBA_SKIP_WITHOUT_GPU();
  constexpr int kDraws = 4000;
  const std::vector<float> row = {0.0F, 1.0F, kForbidden, -1.0F, 0.5F};
  std::vector<SamplingRow> settings;
  for (uint32_t i = 0; i < kDraws; ++i) {
    settings.push_back({.uniform = uniform_draw(9, 0, 0, i)});
  }
  const auto got = choose<float>(std::vector<std::vector<float>>(kDraws, row), settings);
  for (int32_t id = 0; id < 5; ++id) {
    const double expected = std::exp(logprob(row, id));
    const double share = static_cast<double>(std::ranges::count(got.ids, id)) / kDraws;
    EXPECT_NEAR(share, expected, 4 * std::sqrt(expected * (1 - expected) / kDraws) + 1e-12) << id;
  }
}

TEST(CudaSampling, BrokenLogitsStillGiveAnId) {
  BAMBA_SKIP_WITHOUT_GPU();
  const SamplingRow row{.uniform = 0.3, .top_p = 0.9, .top_k = 20, .min_p = 0.1F};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::vector<float>> rows(3, std::vector<float>(500, nan));
  rows[1].assign(500, kForbidden);
  rows[2][77] = std::numeric_limits<float>::infinity();
  const auto got = choose<float>(rows, {row, row, row});
  for (const int32_t id : got.ids) EXPECT_TRUE(id >= 0 && id < 500) << id;
  EXPECT_EQ(got.ids[2], 77);
}

TEST(CudaSampling, BrokenLogitsAreReportedWhereThatIsAsked) {
  BAMBA_SKIP_WITHOUT_GPU();
  std::mt19937 engine(33);
  const SamplingRow greedy{.temperature = 0};
  const SamplingRow row{.uniform = 0.3, .top_p = 0.9, .top_k = 20};
  for (const size_t vocab : {3, 1000, 128256}) {
    std::vector<std::vector<float>> rows;
    for (int r = 0; r < 5; ++r) rows.push_back(normals(engine, vocab, 3));
    rows[1][vocab - 1] = std::numeric_limits<float>::quiet_NaN();
    rows[2][0] = kForbidden;
    rows[3][vocab / 2] = std::numeric_limits<float>::infinity();
    rows[3][vocab - 1] = std::numeric_limits<float>::quiet_NaN();
    const auto got = choose<float>(rows, {row, row, greedy, row, greedy}, true);
    EXPECT_EQ(got.ids[0], choose<float>({rows[0]}, {row}).ids[0]);
    EXPECT_EQ(got.ids[1], -static_cast<int64_t>(vocab));
    EXPECT_EQ(got.ids[2], -1);
    EXPECT_EQ(got.ids[3], -1 - static_cast<int64_t>(vocab / 2));
    EXPECT_EQ(got.ids[4], greedy_token(rows[4]));
  }
}

}  // namespace
}  // namespace bamba::backend::cuda
