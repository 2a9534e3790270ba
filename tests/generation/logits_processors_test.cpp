// The processors and warpers against Transformers' on fixed logits: every score equal to the last bit.
#include <bamba/generation.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "generation/processors.h"
#include "generation/sampler.h"
#include "generation/warpers.h"
#include "io/safetensors.h"
#include "support/golden_path.h"

namespace bamba {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

const std::filesystem::path kFolder = test::golden_path("logits_processors");

/// Warpers as the golden applied them, one by one: forbidden tokens become -infinity again after each.
void warp(const WarperSettings& settings, std::span<float> scores) {
  Warpers warpers(settings);
  const auto kept = warpers.apply(scores);
  std::ranges::fill(scores, kForbidden);
  for (const Candidate& candidate : kept) scores[static_cast<size_t>(candidate.id)] = candidate.score;
}

void apply_one(const std::string& name, const Json& value, std::span<const int64_t> ids, std::span<float> scores) {
  // {"top_k": {"top_k": 5}} in the single cases, {"top_k": 5} in the combined ones.
  const Json number = value.is_object() ? value.front() : value;
  WarperSettings settings;
  if (value.is_object()) settings.min_tokens_to_keep = value.value("min_tokens_to_keep", size_t{1});
  std::vector<uint32_t> counts;
  if (name == "repetition_penalty") return apply_repetition_penalty(ids, number.get<double>(), scores, counts);
  if (name == "no_repeat_ngram_size") return apply_no_repeat_ngram(ids, number.get<int64_t>(), scores);
  if (name == "temperature")
    settings.temperature = number.get<double>();
  else if (name == "top_k")
    settings.top_k = number.get<int64_t>();
  else if (name == "top_p")
    settings.top_p = number.get<double>();
  else if (name == "min_p")
    settings.min_p = number.get<double>();
  else if (name == "typical_p")
    settings.typical_p = number.get<double>();
  else if (name == "epsilon_cutoff")
    settings.epsilon_cutoff = number.get<double>();
  else if (name == "eta_cutoff")
    settings.eta_cutoff = number.get<double>();
  else
    FAIL() << name;
  warp(settings, scores);
}

/// All warpers of a combined case in one go, as generation uses them.
void apply_together(const Json& params, std::span<const int64_t> ids, std::span<float> scores) {
  WarperSettings settings;
  for (const auto& [name, value] : params.items()) {
    if (name == "temperature")
      settings.temperature = value.get<double>();
    else if (name == "top_k")
      settings.top_k = value.get<int64_t>();
    else if (name == "top_p")
      settings.top_p = value.get<double>();
    else if (name == "min_p")
      settings.min_p = value.get<double>();
    else if (name == "typical_p")
      settings.typical_p = value.get<double>();
    else
      apply_one(name, value, ids, scores);
  }
  warp(settings, scores);
}

void expect_scores(std::span<const float> got, std::span<const float> want, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(got[i], want[i]) << what << " token " << i;
}

TEST(LogitsProcessorGoldens, AllScoresAreEqual) {
  const Json cases = parse_json_file(kFolder / "cases.json", ErrorCode::invalid_file).at("cases");
  const auto file = SafetensorsFile::open(kFolder / "expected.safetensors");
  const Tensor all_ids = file.tensor("input_ids");
  ASSERT_GT(cases.size(), 100U);
  for (const Json& test : cases) {
    const auto name = test.at("name").get<std::string>();
    const Tensor logits = file.tensor(test.at("logits").get<std::string>());
    const Tensor want = file.tensor(name + "/scores");
    const Tensor probabilities = file.tensor(name + "/probs");
    const auto rows = static_cast<size_t>(logits.dim(0));
    const auto vocab = static_cast<size_t>(logits.dim(1));
    const auto length = static_cast<size_t>(all_ids.dim(1));
    for (size_t r = 0; r < rows; ++r) {
      const auto ids = all_ids.data<int64_t>().subspan(r * length, length);
      const auto raw = logits.data<float>().subspan(r * vocab, vocab);
      const auto expected = want.data<float>().subspan(r * vocab, vocab);
      const std::string what = name + " row " + std::to_string(r);
      std::vector<float> scores(raw.begin(), raw.end());
      for (const auto& [key, value] : test.at("params").items()) apply_one(key, value, ids, scores);
      expect_scores(scores, expected, what);
      if (name.starts_with("combined")) {
        std::vector<float> together(raw.begin(), raw.end());
        apply_together(test.at("params"), ids, together);
        expect_scores(together, expected, what + " together");
      }

      // What would be drawn: the sampler's probabilities. Theirs are a float32 softmax, ours f64: a few float32 ulps.
      std::vector<Candidate> candidates;
      for (size_t i = 0; i < vocab; ++i) candidates.push_back({static_cast<int64_t>(i), scores[i]});
      Sampler sampler;
      sampler.set(candidates);
      const auto wanted_probabilities = probabilities.data<float>().subspan(r * vocab, vocab);
      for (size_t i = 0; i < vocab; ++i) {
        EXPECT_NEAR(sampler.probability(i), wanted_probabilities[i], 1e-6) << what << " token " << i;
      }
    }
  }
}

}  // namespace
}  // namespace bamba
