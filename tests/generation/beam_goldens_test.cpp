// Greedy and beam search against what Transformers does with the same scripted model (make_beam_goldens.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "generation/script_model.h"
#include "support/golden_path.h"

namespace bamba {
namespace {

using test::Ids;

GenerationConfig config_of(const Json& settings) {
  // The keys are those of generation_config.json.
  return GenerationConfig::from_json(settings.dump(), "settings", test::script_config(16));
}

TEST(BeamGoldens, SameSequencesAndScores) {
  const Json golden = parse_json_file(test::golden_path("beam_search") / "cases.json", ErrorCode::invalid_file);
  const auto vocab = golden.at("vocab_size").get<int64_t>();
  const auto unit = golden.at("table_unit").get<float>();
  std::vector<std::vector<std::vector<float>>> tables;
  for (const Json& table : golden.at("tables")) tables.push_back(table.get<std::vector<std::vector<float>>>());
  ASSERT_GE(golden.at("cases").size(), 200U);

  for (const Json& test : golden.at("cases")) {
    const auto& table = tables[test.at("table").get<size_t>()];
    test::ScriptModel model(vocab, [&](std::span<const int64_t> ids, std::span<float> logits) {
      const auto& last = table[static_cast<size_t>(ids.back())];
      const auto& before = table[static_cast<size_t>(ids[ids.size() - 2])];
      const size_t n = ids.size();
      for (size_t i = 0; i < logits.size(); ++i) {
        const auto of_length = static_cast<float>((n * n * 31 + i * i * 17 + n * i * 7) % 29);
        logits[i] = last[i] / unit + 0.5F * (before[i] / unit) + of_length / 64;
      }
    });
    const auto result = test::run_script(model, {test.at("prompt").get<Ids>()}, config_of(test.at("settings")));
    const auto want = test.at("sequences").get<std::vector<Ids>>();
    ASSERT_EQ(result.sequences.size(), want.size()) << test.dump();
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(result.sequences[i].ids, want[i]) << test.dump();
      if (!test.contains("scores")) continue;
      // Both add float32 numbers in the same order; the log-softmax may differ in its last bit, once for each token.
      const double score = test.at("scores")[i].get<double>();
      EXPECT_NEAR(result.sequences[i].score.value_or(NAN), score, 2e-6 * std::max(1.0, std::abs(score))) << test.dump();
    }
  }
}

}  // namespace
}  // namespace bamba
