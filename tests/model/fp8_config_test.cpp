// What config.json says of fp8 scales.
#include "model/fp8_config.h"

#include <gtest/gtest.h>

#include "support/error.h"
#include "support/fp8_blocks.h"

namespace bamba {
namespace {

using test::block_structure;
using test::weight_block_size;

Fp8Config read(const std::string& json) {
  BambaConfig config;
  config.set_extra_key("quantization_config", json);
  return read_fp8_config(config, "config.json");
}

void expect_refused(const std::string& json, std::initializer_list<std::string_view> words) {
  SCOPED_TRACE(json);
  test::expect_error(ErrorCode::invalid_config, {"config.json", "quantization_config"}, [&] { read(json); });
  test::expect_error(ErrorCode::invalid_config, words, [&] { read(json); });
}

TEST(Fp8Config, BlocksAreReadFromBothSpellings) {
  for (const std::string& json :
       {weight_block_size("[128, 64]"), block_structure("[128, 64]"), block_structure("\"128x64\"")}) {
    const Fp8Config config = read(json);
    EXPECT_EQ(config.block, (Fp8Block{128, 64})) << json;
    EXPECT_FALSE(config.by_row) << json;
  }
  EXPECT_EQ(read(weight_block_size("[9223372036854775807, 1]")).block, (Fp8Block{9223372036854775807, 1}));
}

TEST(Fp8Config, NoBlocks) {
  EXPECT_FALSE(read_fp8_config(BambaConfig{}, "config.json").block);
  EXPECT_TRUE(read_fp8_config(BambaConfig{}, "config.json").by_row);
  for (
      const char* json :
      {"null", "3", "[]", "{}", R"({"quant_method": "gptq", "bits": 4})",
       R"({"quant_method": "fp8", "weight_block_size": null})",
       R"({"config_groups": {"a": {"weights": {"strategy": "channel", "block_structure": null}}, "b": {}, "c": 3}})"}) {
    const Fp8Config config = read(json);
    EXPECT_FALSE(config.block) << json;
    EXPECT_TRUE(config.by_row) << json;
  }
}

TEST(Fp8Config, GroupsMayDifferInKindButNotInSize) {
  const auto groups = [](const std::string& other) {
    return R"({"config_groups": {"a": {"weights": {"strategy": "block", "block_structure": [4, 8]}}, "b": {"weights": )" +
           other + "}}}";
  };
  EXPECT_TRUE(read(groups(R"({"strategy": "channel"})")).by_row);
  EXPECT_EQ(read(groups(R"({"strategy": "channel"})")).block, (Fp8Block{4, 8}));
  EXPECT_FALSE(read(groups(R"({"strategy": "block", "block_structure": [4, 8]})")).by_row);
  expect_refused(groups(R"({"strategy": "block", "block_structure": [8, 4]})"), {"[8,4]", "4 x 8", "one size"});
}

TEST(Fp8Config, WrongSizesAreRefused) {
  for (const char* sizes : {"[0, 128]",
                            "[128, -1]",
                            "[128]",
                            "[128, 128, 128]",
                            "[1.5, 2]",
                            "[\"128\", 128]",
                            "128",
                            "true",
                            "{}",
                            "\"\"",
                            "\"128\"",
                            "\"128x\"",
                            "\"128x0\"",
                            "\"128x128 \"",
                            "\"ax128\"",
                            "\"1x2x3\"",
                            "[18446744073709551615, 1]",
                            "[9223372036854775808, 1]",
                            "\"99999999999999999999x1\"",
                            "[null, null]"}) {
    expect_refused(weight_block_size(sizes), {"weight_block_size", "two positive integers"});
    expect_refused(block_structure(sizes), {"block_structure", "two positive integers"});
  }
  expect_refused(block_structure("null"), {"group_0", "no block_structure"});
  expect_refused(R"({"config_groups": [1]})", {"config_groups", "[1]", "object"});
}

}  // namespace
}  // namespace bamba
