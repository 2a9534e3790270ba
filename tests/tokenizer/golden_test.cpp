// The goldens come from Hugging Face's tokenizers on the same files: ids, offsets, pairs and text, all exact.
#include <bamba/tokenizer.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "tokenizer/tokenizer_helpers.h"

namespace bamba {
namespace {

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  const std::filesystem::path folder_ = std::filesystem::path(BAMBA_TEST_DATA) / GetParam();
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

}  // namespace
}  // namespace bamba
