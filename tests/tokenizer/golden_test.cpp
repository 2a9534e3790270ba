// The goldens come from Hugging Face's tokenizers on the same files: ids, offsets, pairs and text, all exact.
#include <bamba/tokenizer.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "support/golden_path.h"
#include "tokenizer/tokenizer_helpers.h"

namespace bamba {
namespace {

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  const std::filesystem::path folder_ = test::golden_path(GetParam());
  const Tokenizer tokenizer_ = Tokenizer::from_pretrained(folder_);
  const Json goldens_ = parse_json_file(folder_ / "goldens.json", ErrorCode::invalid_file);
};

TEST_P(TokenizerGolden, Encode) {
  ASSERT_GT(goldens_["encode"].size(), 200U);
  for (const Json& golden : goldens_["encode"]) {
    const auto text = golden["text"].get<std::string>();
    SCOPED_TRACE(golden["text"].dump());
    EXPECT_EQ(tokenizer_.encode(text, false), golden["ids"].get<Ids>());
    EXPECT_EQ(tokenizer_.encode(text, true), golden["ids_with_special"].get<Ids>());
    const Encoding encoding = tokenizer_.encode_with_offsets(text, false);
    EXPECT_EQ(encoding.ids, golden["ids"].get<Ids>());
    EXPECT_EQ(encoding.offsets, (golden["offsets"].get<std::vector<std::pair<int64_t, int64_t>>>()));
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      EXPECT_EQ(tokenizer_.id_to_token(encoding.ids[i]), golden["tokens"][i].get<std::string>());
      EXPECT_EQ(tokenizer_.token_to_id(golden["tokens"][i].get<std::string>()), encoding.ids[i]);
    }
    EXPECT_EQ(tokenizer_.decode(encoding.ids, true), golden["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer_.decode(tokenizer_.encode(text)), golden["decoded_with_special"].get<std::string>());
  }
}

TEST_P(TokenizerGolden, Decode) {
  ASSERT_GT(goldens_["decode"].size(), 100U);
  for (const Json& golden : goldens_["decode"]) {
    const auto ids = golden["ids"].get<Ids>();
    EXPECT_EQ(tokenizer_.decode(ids, true), golden["text"].get<std::string>());
    EXPECT_EQ(tokenizer_.decode(ids, false), golden["text_with_special"].get<std::string>());
  }
}

TEST_P(TokenizerGolden, Pair) {
  ASSERT_FALSE(goldens_["pair"].empty());
  for (const Json& golden : goldens_["pair"]) {
    const Encoding encoding = tokenizer_.encode_pair(golden["a"].get<std::string>(), golden["b"].get<std::string>());
    EXPECT_EQ(encoding.ids, golden["ids"].get<Ids>());
    EXPECT_EQ(encoding.type_ids, golden["type_ids"].get<Ids>());
  }
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerGolden, testing::Values("tokenizer-llama3", "tokenizer-gpt2"),
                         [](const auto& param_info) { return std::string(param_info.param).substr(10); });

// The same files with other added tokens, splits, digits and trimmed offsets (a JSON merge patch each); ids and offsets
// from Hugging Face's tokenizers 0.23.
TEST(TokenizerVariants, Encode) {
  const std::filesystem::path data(BAMBA_TEST_DATA);
  const Json variants = parse_json_file(data / "tokenizer-variants" / "goldens.json", ErrorCode::invalid_file);
  ASSERT_GT(variants.size(), 15U);
  for (const Json& variant : variants) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    std::string text = read_file(data / variant["base"].get<std::string>() / "tokenizer.json", uint64_t{1} << 24);
    auto json = nlohmann::json::parse(text);
    json.merge_patch(nlohmann::json::parse(variant["patch"].dump()));
    const Tokenizer tokenizer = make_tokenizer(json.dump());
    for (const Json& golden : variant["encode"]) {
      SCOPED_TRACE(golden["text"].dump());
      const Encoding encoding = tokenizer.encode_with_offsets(golden["text"].get<std::string>());
      EXPECT_EQ(encoding.ids, golden["ids"].get<Ids>());
      EXPECT_EQ(encoding.offsets, (golden["offsets"].get<std::vector<std::pair<int64_t, int64_t>>>()));
      EXPECT_EQ(tokenizer.encode(golden["text"].get<std::string>()), golden["ids"].get<Ids>());
    }
  }
}

}  // namespace
}  // namespace bamba
