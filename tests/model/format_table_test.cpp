// The table of formats: every matrix has its class, and only the exceptions that docs/quantization.md explains are
// made.
#include "model/format_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "model/random_model.h"

namespace bamba::test {
namespace {

TEST(FormatTable, EveryMatrixHasAClass) {
  std::set<std::string, std::less<>> seen;
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    Rng rng(seed);
    BambaConfig config = random_config(rng);
    config.attn_layer_indices = {0};
    config.tie_word_embeddings = false;
    for (const TensorSpec& spec : tensor_specs(config)) {
      const std::string_view name = tensor_class(spec);
      EXPECT_EQ(name.empty(), !spec.is_matrix()) << spec.name;
      if (!name.empty()) seen.emplace(name);
    }
  }
  const auto& known = tensor_classes();
  EXPECT_EQ(seen, (std::set<std::string, std::less<>>(known.begin(), known.end())));
}

TEST(FormatTable, OnlyTheEmbeddingIsFinerAndInFp8TheHead) {
  Rng rng(6);
  BambaConfig config = random_config(rng);
  config.tie_word_embeddings = false;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (!spec.is_matrix()) continue;
    const bool embedding = spec.role == TensorRole::embedding;
    EXPECT_EQ(tensor_format(spec, WeightFormat::q4), embedding ? WeightFormat::q8 : WeightFormat::q4) << spec.name;
    const bool head = spec.name == kHeadName;
    EXPECT_EQ(tensor_format(spec, WeightFormat::fp8), embedding || head ? WeightFormat::bf16 : WeightFormat::fp8)
        << spec.name;
    for (const WeightFormat format : {WeightFormat::f32, WeightFormat::bf16, WeightFormat::f16, WeightFormat::q8}) {
      EXPECT_EQ(tensor_format(spec, format), format) << spec.name;
    }
  }
}

}  // namespace
}  // namespace bamba::test
