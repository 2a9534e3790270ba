// Rotary frequencies against those of Transformers 5.17 (tests/golden/rope: its ROPE_INIT_FUNCTIONS on these configs).
#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/golden_folder.h"

namespace bamba {
namespace {

Json config_json(const Json& item) {
  Json config = {{"hidden_size", 256},     {"num_attention_heads", 2}, {"num_key_value_heads", 1},
                 {"num_hidden_layers", 2}, {"mamba_n_heads", 8},       {"mamba_d_head", 64},
                 {"vocab_size", 64},       {"intermediate_size", 16},  {"attn_layer_indices", {1}}};
  config["max_position_embeddings"] = item["max_position_embeddings"];
  return config;
}

TEST(Rope, FrequenciesOfAllTypes) {
  const Json cases = parse_json_file(test::golden_path("rope") / "expected.json", ErrorCode::invalid_file);
  for (const Json& item : cases) {
    Json newer = config_json(item);
    newer["rope_parameters"] = item["rope_parameters"];
    Json older = config_json(item);  // Transformers 4's layout
    older["rope_theta"] = item["rope_parameters"]["rope_theta"];
    older["rope_scaling"] = item["rope_parameters"];
    older["rope_scaling"].erase("rope_theta");
    for (const Json& config : {newer, older}) {
      const Rope rope(BambaConfig::from_json(config.dump()));
      const auto expected = item["inv_freq"].get<std::vector<double>>();
      ASSERT_EQ(rope.inv_freq().size(), expected.size());
      for (size_t j = 0; j < expected.size(); ++j) {
        // Transformers computes them in f32 throughout, through a power and two blends: a few ulp.
        EXPECT_NEAR(rope.inv_freq()[j], expected[j], 1e-6 * expected[j]) << item["name"] << ' ' << j;
      }
      EXPECT_NEAR(rope.attention_scaling(), item["attention_scaling"].get<double>(), 1e-6) << item["name"];
    }
  }
}

TEST(Rope, TableHoldsCosinesThenSines) {
  const Rope rope(BambaConfig::from_pretrained(test::golden_path("j_real_dims")));
  ASSERT_EQ(rope.inv_freq().size(), 32U);
  const std::vector<int64_t> positions = {0, 5, 100'000};
  std::vector<float> table(3 * 64);
  rope.fill(positions, table.data());
  for (size_t r = 0; r < 3; ++r) {
    for (size_t j = 0; j < 32; ++j) {
      const float angle = static_cast<float>(positions[r]) * rope.inv_freq()[j];
      EXPECT_FLOAT_EQ(table[r * 64 + j], static_cast<float>(std::cos(static_cast<double>(angle))));
      EXPECT_FLOAT_EQ(table[r * 64 + 32 + j], static_cast<float>(std::sin(static_cast<double>(angle))));
    }
  }
}

}  // namespace
}  // namespace bamba
