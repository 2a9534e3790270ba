// generation_config.json read key by key, and every refusal of GenerationConfig::validate().
#include <bamba/generation.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "generation/script_model.h"
#include "support/error.h"
#include "support/temp_folder.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using test::expect_error;

GenerationConfig read(const std::string& json) {
  BambaConfig config = test::script_config(100);
  config.bos_token_id = 1;
  config.eos_token_id = {2};
  config.pad_token_id = 0;
  return GenerationConfig::from_json(json, "generation_config.json", config);
}

TEST(GenerationConfigFile, DefaultsComeFromTheModel) {
  const auto config = read(R"({"_from_model_config": true, "transformers_version": "5.17.0", "use_cache": true})");
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_id, std::vector<int64_t>{2});
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_FALSE(config.max_length.has_value());
  EXPECT_EQ(config.top_k, 50);
  EXPECT_FALSE(config.do_sample);
}

TEST(GenerationConfigFile, EveryKeyIsRead) {
  const auto config = read(R"({
    "max_length": 40, "max_new_tokens": 30, "min_length": 3, "min_new_tokens": 2, "stop_strings": ["a", "b"],
    "do_sample": true, "num_beams": 4, "num_return_sequences": 3, "length_penalty": -0.5, "early_stopping": "never",
    "repetition_penalty": 1.25, "presence_penalty": 0.5, "frequency_penalty": 0.25, "no_repeat_ngram_size": 3,
    "bad_words_ids": [[5], [6, 7]], "sequence_bias": [[[9], 1.5]], "forced_bos_token_id": 8,
    "forced_eos_token_id": [2, 3], "remove_invalid_values": true, "temperature": 0.75, "top_k": 7, "top_p": 0.875,
    "min_p": 0.125, "typical_p": 0.5, "epsilon_cutoff": 0.25, "eta_cutoff": 0.0625, "bos_token_id": 11,
    "eos_token_id": [12, 13], "pad_token_id": 14, "prefill_chunk_size": 16})");
  EXPECT_EQ(config.max_length, 40);
  EXPECT_EQ(config.max_new_tokens, 30);
  EXPECT_EQ(config.min_length, 3);
  EXPECT_EQ(config.min_new_tokens, 2);
  EXPECT_EQ(config.stop_strings, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.num_beams, 4);
  EXPECT_EQ(config.num_return_sequences, 3);
  EXPECT_EQ(config.length_penalty, -0.5);
  EXPECT_EQ(config.early_stopping, EarlyStopping::never);
  EXPECT_EQ(config.repetition_penalty, 1.25);
  EXPECT_EQ(config.presence_penalty, 0.5);
  EXPECT_EQ(config.frequency_penalty, 0.25);
  EXPECT_EQ(config.no_repeat_ngram_size, 3);
  EXPECT_EQ(config.bad_words_ids, (std::vector<std::vector<int64_t>>{{5}, {6, 7}}));
  EXPECT_EQ(config.logit_bias, (std::map<int64_t, double>{{9, 1.5}}));
  EXPECT_EQ(config.forced_bos_token_id, 8);
  EXPECT_EQ(config.forced_eos_token_id, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(config.remove_invalid_values);
  EXPECT_EQ(config.temperature, 0.75);
  EXPECT_EQ(config.top_k, 7);
  EXPECT_EQ(config.top_p, 0.875);
  EXPECT_EQ(config.min_p, 0.125);
  EXPECT_EQ(config.typical_p, 0.5);
  EXPECT_EQ(config.epsilon_cutoff, 0.25);
  EXPECT_EQ(config.eta_cutoff, 0.0625);
  EXPECT_EQ(config.bos_token_id, 11);
  EXPECT_EQ(config.eos_token_id, (std::vector<int64_t>{12, 13}));
  EXPECT_EQ(config.pad_token_id, 14);
  EXPECT_EQ(config.prefill_chunk_size, 16);
  config.validate(test::script_config(100));
}

TEST(GenerationConfigFile, NullMeansNotSet) {
  const auto config = read(R"({"max_length": null, "top_k": null, "eos_token_id": null, "early_stopping": null,
    "temperature": null, "bad_words_ids": null, "stop_strings": null, "do_sample": null})");
  EXPECT_FALSE(config.max_length.has_value());
  EXPECT_EQ(config.top_k, 50);
  EXPECT_EQ(config.eos_token_id, std::vector<int64_t>{2});
  EXPECT_EQ(config.early_stopping, EarlyStopping::no);
}

TEST(GenerationConfigFile, OtherForms) {
  EXPECT_EQ(read(R"({"early_stopping": true})").early_stopping, EarlyStopping::yes);
  EXPECT_EQ(read(R"({"early_stopping": false})").early_stopping, EarlyStopping::no);
  EXPECT_EQ(read(R"({"eos_token_id": 7})").eos_token_id, std::vector<int64_t>{7});
  EXPECT_EQ(read(R"({"forced_eos_token_id": 7})").forced_eos_token_id, std::vector<int64_t>{7});
  EXPECT_EQ(read(R"({"stop_strings": "x"})").stop_strings, std::vector<std::string>{"x"});
  EXPECT_TRUE(std::isinf(read(R"({"length_penalty": {"__float__": "Infinity"}})").length_penalty));
  EXPECT_EQ(read(R"({"temperature": 1})").temperature, 1.0);
}

TEST(GenerationConfigFile, WrongTypesNameTheKey) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {R"({"top_k": 1.5})", "top_k"},
      {R"({"top_k": 99999999999999999999})", "top_k"},
      {R"({"top_k": 18446744073709551615})", "top_k"},
      {R"({"do_sample": 1})", "do_sample"},
      {R"({"temperature": "hot"})", "temperature"},
      {R"({"eos_token_id": ["a"]})", "eos_token_id"},
      {R"({"early_stopping": "sometimes"})", "early_stopping"},
      {R"({"bad_words_ids": [1]})", "bad_words_ids"},
      {R"({"sequence_bias": {"a": 1}})", "sequence_bias"},
      {R"({"stop_strings": [1]})", "stop_strings"},
      {R"([])", "object"},
      {R"({)", "JSON"},
  };
  for (const auto& [json, word] : bad) {
    SCOPED_TRACE(json);
    expect_error(ErrorCode::invalid_config, {word, "generation_config.json"}, [&text = json] { read(text); });
  }
}

TEST(GenerationConfigFile, WarnsAboutWhatItCannotDo) {
  const test::Warnings warnings;
  read(R"({"penalty_alpha": 0.6, "guidance_scale": 1.0, "num_beam_groups": 1, "suppress_tokens": null,
           "sequence_bias": [[[1, 2], 0.5]], "my_own_key": 3})");
  ASSERT_EQ(warnings.all().size(), 2U) << warnings.text();
  EXPECT_NE(warnings.all()[0].find("sequence_bias"), std::string::npos);
  EXPECT_NE(warnings.all()[1].find("penalty_alpha"), std::string::npos);
}

TEST(GenerationConfigFile, FolderWithAndWithoutIt) {
  const test::TempFolder folder;
  EXPECT_EQ(GenerationConfig::from_pretrained(folder.path(), test::script_config(10)).top_k, 50);
  folder.put("generation_config.json", R"({"top_k": 3})");
  EXPECT_EQ(GenerationConfig::from_pretrained(folder.path(), test::script_config(10)).top_k, 3);
}

TEST(GenerationConfig, ValidateNamesTheParameter) {
  using Change = std::function<void(GenerationConfig&)>;
  const std::vector<std::pair<std::string, Change>> bad = {
      {"max_length", [](auto& c) { c.max_length = 0; }},
      {"max_new_tokens", [](auto& c) { c.max_new_tokens = 0; }},
      {"min_length", [](auto& c) { c.min_length = -1; }},
      {"min_length",
       [](auto& c) {
         c.min_length = 9;
         c.max_length = 8;
       }},
      {"min_new_tokens", [](auto& c) { c.min_new_tokens = -1; }},
      {"min_new_tokens",
       [](auto& c) {
         c.min_new_tokens = 5;
         c.max_new_tokens = 4;
       }},
      {"stop_strings", [](auto& c) { c.stop_strings = {""}; }},
      {"prefill_chunk_size", [](auto& c) { c.prefill_chunk_size = -1; }},
      {"num_beams", [](auto& c) { c.num_beams = 0; }},
      {"num_beams", [](auto& c) { c.num_beams = int64_t{1} << 60; }},
      {"num_return_sequences", [](auto& c) { c.num_return_sequences = 0; }},
      {"num_return_sequences", [](auto& c) { c.num_return_sequences = 2; }},
      {"num_return_sequences",
       [](auto& c) {
         c.num_return_sequences = 3;
         c.num_beams = 2;
       }},
      {"length_penalty", [](auto& c) { c.length_penalty = NAN; }},
      {"top_logprobs", [](auto& c) { c.top_logprobs = 101; }},
      {"repetition_penalty", [](auto& c) { c.repetition_penalty = 0; }},
      {"repetition_penalty", [](auto& c) { c.repetition_penalty = INFINITY; }},
      {"presence_penalty", [](auto& c) { c.presence_penalty = INFINITY; }},
      {"frequency_penalty", [](auto& c) { c.frequency_penalty = NAN; }},
      {"no_repeat_ngram_size", [](auto& c) { c.no_repeat_ngram_size = -1; }},
      {"bad_words_ids", [](auto& c) { c.bad_words_ids = {{}}; }},
      {"bad_words_ids",
       [](auto& c) {
         c.bad_words_ids = {{1, 100}};
       }},
      {"logit_bias", [](auto& c) { c.logit_bias[100] = 1; }},
      {"logit_bias", [](auto& c) { c.logit_bias[1] = INFINITY; }},
      {"forced_bos_token_id", [](auto& c) { c.forced_bos_token_id = 100; }},
      {"forced_eos_token_id", [](auto& c) { c.forced_eos_token_id = {-1}; }},
      {"temperature", [](auto& c) { c.temperature = -1; }},
      {"temperature",
       [](auto& c) {
         c.temperature = 0;
         c.do_sample = true;
       }},
      {"temperature", [](auto& c) { c.temperature = NAN; }},
      {"top_k", [](auto& c) { c.top_k = -1; }},
      {"top_p", [](auto& c) { c.top_p = 1.5; }},
      {"top_p", [](auto& c) { c.top_p = NAN; }},
      {"min_p", [](auto& c) { c.min_p = -0.1; }},
      {"typical_p", [](auto& c) { c.typical_p = 0; }},
      {"epsilon_cutoff", [](auto& c) { c.epsilon_cutoff = 1; }},
      {"eta_cutoff", [](auto& c) { c.eta_cutoff = -1; }},
      {"bos_token_id", [](auto& c) { c.bos_token_id = 100; }},
      {"eos_token_id",
       [](auto& c) {
         c.eos_token_id = {1, 100};
       }},
      {"pad_token_id", [](auto& c) { c.pad_token_id = -2; }},
  };
  const BambaConfig model = test::script_config(100);
  GenerationConfig().validate(model);
  for (const auto& [name, change] : bad) {
    GenerationConfig config;
    change(config);
    SCOPED_TRACE(name);
    expect_error(ErrorCode::invalid_argument, {name}, [&] { config.validate(model); });
  }
  GenerationConfig greedy;
  greedy.temperature = 0;  // as files have it
  greedy.validate(model);
}

}  // namespace
}  // namespace bamba
