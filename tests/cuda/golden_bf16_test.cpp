// bf16 on the GPU against the exact answer: no further from it than Transformers' own bf16.
//
// Both round at their own places, and neither is right; what can be asked is that ours does not lose more. As a whole
// (root mean square) and at the worst element, for a whole prompt and for a prompt continued token by token: with
// j_real_dims on the tensor cores of the scan and of attention.
#include <bamba/cache.h>

#include <algorithm>
#include <cmath>

#include "cuda/device.h"
#include "support/golden_folder.h"

namespace bamba {
namespace {

using test::columns;
using test::GoldenFolder;

struct Errors {
  double worst = 0;
  double squares = 0;
  size_t count = 0;

  /// values: rows [first, ...) of the reference.
  void add(std::span<const float> values, std::span<const double> reference, size_t first) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = std::abs(static_cast<double>(values[i]) - reference[first + i]);
      worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
      squares += error * error;
    }
    count += values.size();
  }
  double root_mean_square() const { return std::sqrt(squares / static_cast<double>(count)); }
};

void expect_no_worse(const Errors& ours, const Errors& theirs, const std::string& what) {
  SCOPED_TRACE(what);
  ASSERT_GT(theirs.count, 0U);
  ASSERT_EQ(ours.count, theirs.count);
  std::printf("%s: ours %.3e (worst %.3e), Transformers %.3e (worst %.3e)\n", what.c_str(), ours.root_mean_square(),
              ours.worst, theirs.root_mean_square(), theirs.worst);
  EXPECT_LE(ours.root_mean_square(), theirs.root_mean_square());
  EXPECT_LE(ours.worst, theirs.worst);
}

class CudaGoldenBf16 : public ::testing::TestWithParam<std::string> {};

TEST_P(CudaGoldenBf16, LosesNoMoreThanTransformers) {
  BAMBA_SKIP_WITHOUT_GPU();
  const GoldenFolder golden(GetParam());
  RunOptions options;
  options.device = "cuda";
  options.gpu_memory = size_t{1} << 30;
  options.weights = WeightFormat::bf16;
  const auto model = golden.load(options);
  const auto cases = golden.cases("bf16");
  ASSERT_FALSE(cases.empty());
  for (const Json& item : cases) {
    const Tensor exact = golden.get(item, "logits_f64");
    const auto reference = exact.data<double>();
    const auto vocab = static_cast<size_t>(exact.dim(2));
    ForwardInputs all;
    all.input_ids = golden.get(item, "input_ids");
    Errors ours;
    Errors theirs;
    ours.add(model.forward(all).logits.data<float>(), reference, 0);
    theirs.add(golden.get(item, "logits").to(DType::f32).data<float>(), reference, 0);
    expect_no_worse(ours, theirs, GetParam() + ", whole");

    const int64_t prompt = item["prompt"];
    const int64_t steps = item["steps"];
    auto cache = std::make_shared<HybridMambaAttentionDynamicCache>(model.model(), 1);
    Errors our_steps;
    Errors their_steps;
    for (int64_t step = 0; step <= steps; ++step) {
      const int64_t first = step == 0 ? 0 : prompt + step - 1;
      ForwardInputs inputs;
      inputs.input_ids = columns(all.input_ids, first, step == 0 ? prompt : 1);
      inputs.past_key_values = cache;
      const Tensor logits = model.forward(inputs).logits;
      if (step == 0) continue;  // the prompt is compared above
      const Tensor given = golden.get(item, str("cached_logits.", step)).to(DType::f32);
      our_steps.add(logits.data<float>(), reference, static_cast<size_t>(first) * vocab);
      their_steps.add(given.data<float>(), reference, static_cast<size_t>(first) * vocab);
    }
    expect_no_worse(our_steps, their_steps, GetParam() + ", token by token");
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaGoldenBf16, ::testing::Values("a_base", "j_real_dims"),
                         [](const ::testing::TestParamInfo<std::string>& model) { return model.param; });

}  // namespace
}  // namespace bamba
