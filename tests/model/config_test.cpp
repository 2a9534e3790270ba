// config.json in every layout that Transformers has had, and every value that is refused.
#include <bamba/config.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "base/json.h"
#include "base/str.h"
#include "support/error.h"
#include "support/golden_path.h"
#include "support/temp_folder.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using test::expect_error;
using test::Warnings;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

BambaConfig read(std::string_view text) {
  return BambaConfig::from_json(text, "dir/config.json");
}
/// An object of one member.
BambaConfig read(std::string_view key, std::string_view value) {
  return read(str("{\"", key, "\":", value, "}"));
}

void expect_refused(std::string_view text, std::initializer_list<std::string_view> words) {
  SCOPED_TRACE(text.substr(0, 300));
  expect_error(ErrorCode::invalid_config, {"dir/config.json"}, [&] { read(text); });
  expect_error(ErrorCode::invalid_config, words, [&] { read(text); });
}

/// Written and read again, nothing may change.
void expect_round_trip(const BambaConfig& config) {
  const Warnings warnings;
  const std::string text = config.to_json();
  const BambaConfig again = BambaConfig::from_json(text);
  EXPECT_EQ(again, config) << text;
  EXPECT_EQ(again.to_json(), text);
  EXPECT_EQ(warnings.text(), "") << "our own file should give no warning";
}

// As published (huggingface.co/ibm-ai-platform/Bamba-9B-v1, config.json); the values the model page lists.
constexpr const char* kPublished9B = R"({
  "architectures": ["BambaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "attn_layer_indices": [9, 18, 27], "attn_rotary_emb": 64, "bos_token_id": 128000, "eos_token_id": 128001,
  "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
  "mamba_chunk_size": 256, "mamba_conv_bias": true, "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_state": 128,
  "mamba_dt_rank": 256, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128, "mamba_proj_bias": false,
  "max_position_embeddings": 4096, "mlp_bias": false, "model_type": "bamba", "num_attention_heads": 32,
  "num_hidden_layers": 32, "num_key_value_heads": 8, "num_logits_to_keep": 1, "pad_token_id": 0,
  "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false,
  "transformers_version": "4.47.0", "use_cache": true, "use_mamba_kernels": true, "vocab_size": 128256
})";

TEST(Config, DefaultsAreTransformers) {
  const BambaConfig c = read("{}");
  EXPECT_EQ(c, BambaConfig());
  EXPECT_NO_THROW(c.validate());
  EXPECT_EQ(c.vocab_size, 128000);
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_EQ(c.hidden_size, 4096);
  EXPECT_EQ(c.intermediate_size, 14336);
  EXPECT_EQ(c.num_hidden_layers, 32);
  EXPECT_EQ(c.num_attention_heads, 32);
  EXPECT_EQ(c.num_key_value_heads, 8);
  EXPECT_EQ(c.hidden_act, "silu");
  EXPECT_EQ(c.initializer_range, 0.02);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_TRUE(c.use_cache);
  EXPECT_EQ(c.num_logits_to_keep, 1);
  EXPECT_EQ(c.pad_token_id, 0);
  EXPECT_EQ(c.bos_token_id, 1);
  EXPECT_EQ(c.eos_token_id, std::vector<int64_t>{2});
  EXPECT_EQ(c.max_position_embeddings, 262144);
  EXPECT_EQ(c.attention_dropout, 0.0);
  EXPECT_TRUE(c.attn_layer_indices.empty());
  EXPECT_EQ(c.mamba_n_heads, 128);
  EXPECT_EQ(c.mamba_d_head, 64);
  EXPECT_EQ(c.mamba_n_groups, 1);
  EXPECT_EQ(c.mamba_d_state, 256);
  EXPECT_EQ(c.mamba_d_conv, 4);
  EXPECT_EQ(c.mamba_expand, 2);
  EXPECT_EQ(c.mamba_chunk_size, 256);
  EXPECT_TRUE(c.mamba_conv_bias);
  EXPECT_FALSE(c.mamba_proj_bias);
  EXPECT_FALSE(c.attention_bias);
  EXPECT_FALSE(c.mlp_bias);
  EXPECT_EQ(c.z_loss_coefficient, 0.0);
  EXPECT_EQ(c.time_step_min, 0.001);
  EXPECT_EQ(c.time_step_max, 0.1);
  EXPECT_EQ(c.time_step_limit, (std::array<double, 2>{0.0, kInfinity}));
  EXPECT_EQ(c.rope, RopeConfig());
  EXPECT_EQ(c.rope.rope_theta, 10000.0);
  EXPECT_FALSE(c.dtype.has_value());
  expect_round_trip(c);
}

TEST(Config, Published9B) {
  const Warnings warnings;
  const BambaConfig c = read(kPublished9B);
  EXPECT_EQ(warnings.text(), "");
  EXPECT_EQ(c.parameter_count(), 9'780'235'392);
  EXPECT_EQ(c.attn_layer_indices, (std::vector<int64_t>{9, 18, 27}));
  EXPECT_EQ(c.num_attention_layers(), 3);
  EXPECT_EQ(c.layer_type(9), LayerType::attention);
  EXPECT_EQ(c.layer_type(10), LayerType::mamba);
  EXPECT_EQ(c.head_dim(), 128);
  EXPECT_EQ(c.rotary_dim(), 64);
  EXPECT_EQ(c.mamba_d_inner(), 8192);
  EXPECT_EQ(c.conv_dim(), 8448);
  EXPECT_EQ(c.in_proj_dim(), 16768);
  EXPECT_FALSE(c.dtype.has_value());
  expect_round_trip(c);
  expect_error(ErrorCode::invalid_argument, {"layer 32", "32"}, [&] { c.layer_type(32); });
  expect_error(ErrorCode::invalid_argument, {"layer -1"}, [&] { c.layer_type(-1); });
}

TEST(Config, GoldenModels) {
  struct Expected {
    const char* folder;
    std::vector<int64_t> attention;
    int64_t layers;
    int64_t d_head;
  };
  for (const auto& [folder, attention, layers, d_head] :
       {Expected{"a_base", {1, 3}, 4, 16}, Expected{"b_groups", {1}, 3, 16}, Expected{"c_tied_mha", {2}, 3, 16},
        Expected{"d_mqa", {0}, 2, 16}, Expected{"e_no_attention", {}, 2, 16},
        Expected{"f_all_attention", {0, 1, 2}, 3, 16}, Expected{"g_conv3_gelu", {1}, 3, 16},
        Expected{"h_stress", {2}, 4, 16}, Expected{"i_dt_limit", {1}, 3, 16}, Expected{"j_real_dims", {1}, 2, 64}}) {
    SCOPED_TRACE(folder);
    const auto directory = test::golden_path(folder);
    const Warnings warnings;
    const BambaConfig c = BambaConfig::from_pretrained(directory);
    EXPECT_EQ(warnings.text(), "");
    EXPECT_EQ(c, BambaConfig::from_pretrained(directory / "config.json"));
    EXPECT_EQ(c.attn_layer_indices, attention);
    EXPECT_EQ(c.num_hidden_layers, layers);
    EXPECT_EQ(c.mamba_d_head, d_head);
    const bool limited = std::string_view(folder) == "i_dt_limit";
    EXPECT_EQ(c.time_step_limit, (limited ? std::array{0.05, 0.4} : std::array{0.0, kInfinity}));
    EXPECT_EQ(c.rope.rope_theta, limited ? 500000.0 : 10000.0);
    EXPECT_EQ(c.dtype, std::string_view(folder) == "j_real_dims" ? DType::bf16 : DType::f32);
    expect_round_trip(c);
    // Every key of Transformers' file is in ours with the same value, but for its own version.
    const Json theirs = parse_json_file(directory / "config.json", ErrorCode::invalid_config);
    const Json ours = Json::parse(c.to_json());
    for (const auto& [key, value] : theirs.items()) {
      if (key == "transformers_version") continue;
      ASSERT_TRUE(ours.contains(key)) << key;
      EXPECT_EQ(nlohmann::json(ours[key]), nlohmann::json(value)) << key;  // whatever the order inside
    }
  }
}

// The count of the formula against a sum over the shapes that spec section 2 lists.
TEST(Config, ParameterCountFollowsEveryBias) {
  const char* base = R"({"vocab_size":10,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":3,
    "num_attention_heads":4,"num_key_value_heads":2,"attn_layer_indices":[1],"mamba_n_heads":4,"mamba_d_head":8,
    "mamba_n_groups":2,"mamba_d_state":3,"mamba_d_conv":4)";
  const int64_t inner = 32;
  const int64_t conv = inner + 2 * 2 * 3;
  const int64_t in_proj = inner + conv + 4;
  const int64_t mamba = 16 * in_proj + conv * 4 + conv + 3 * 4 + inner + inner * 16;
  const int64_t attention = 2 * 16 * 16 + 2 * 8 * 16;
  const int64_t plain = 2 * 10 * 16 + 2 * mamba + attention + 3 * (3 * 16 * 24 + 2 * 16) + 16;
  const auto count = [&](const std::string& more) { return read(str(base, more, "}")).parameter_count(); };
  EXPECT_EQ(count(""), plain);
  EXPECT_EQ(count(R"(,"tie_word_embeddings":true)"), plain - 160);
  EXPECT_EQ(count(R"(,"mamba_conv_bias":false)"), plain - 2 * conv);
  EXPECT_EQ(count(R"(,"mamba_proj_bias":true)"), plain + 2 * (in_proj + 16));
  EXPECT_EQ(count(R"(,"attention_bias":true)"), plain + 16 + 2 * 8 + 16);
  EXPECT_EQ(count(R"(,"mlp_bias":true)"), plain + 3 * (2 * 24 + 16));
}

TEST(Config, NullsMeanWhatTransformersMeans) {
  const BambaConfig c = read(R"({"num_attention_heads":16,"num_key_value_heads":null,"num_logits_to_keep":null,
    "pad_token_id":null,"bos_token_id":null,"eos_token_id":null,"attn_layer_indices":null,"rope_scaling":null,
    "rope_parameters":null,"torch_dtype":null,"dtype":null,"layer_types":null,"attn_rotary_emb":null})");
  EXPECT_EQ(c.num_key_value_heads, 16);
  EXPECT_FALSE(c.num_logits_to_keep.has_value());
  EXPECT_FALSE(c.pad_token_id.has_value());
  EXPECT_FALSE(c.bos_token_id.has_value());
  EXPECT_TRUE(c.eos_token_id.empty());
  EXPECT_TRUE(c.attn_layer_indices.empty());
  EXPECT_EQ(c.layers_block_type(), std::vector<LayerType>(32, LayerType::mamba));
  EXPECT_EQ(c.rope, RopeConfig());
  EXPECT_FALSE(c.dtype.has_value());
  expect_round_trip(c);
}

TEST(Config, HeadWidthIsDerivedUnlessGiven) {
  EXPECT_EQ(read("mamba_d_head", "\"auto\"").mamba_d_head, 64);
  EXPECT_EQ(read("mamba_d_head", "64").mamba_d_head, 64);
  EXPECT_EQ(read(R"({"mamba_n_heads":64})").mamba_d_head, 128);
  EXPECT_EQ(read(R"({"mamba_n_heads":64,"mamba_d_head":"auto","mamba_expand":1})").mamba_d_head, 64);
  for (const char* value : {"\"Auto\"", "null", "64.0", "[64]"}) {
    expect_refused(str("{\"mamba_d_head\":", value, "}"),
                   {"mamba_d_head", value == std::string("[64]") ? "[64]" : value});
  }
  expect_refused(R"({"mamba_n_heads":0})", {"mamba_n_heads is 0", "between 1 and"});
}

TEST(Config, EosMayBeAList) {
  EXPECT_EQ(read("eos_token_id", "7").eos_token_id, std::vector<int64_t>{7});
  const BambaConfig c = read("eos_token_id", "[7, 3]");
  EXPECT_EQ(c.eos_token_id, (std::vector<int64_t>{7, 3}));
  expect_round_trip(c);
  expect_round_trip(read("eos_token_id", "[]"));
  expect_refused(R"({"eos_token_id":"2"})", {"eos_token_id", "\"2\"", "integer"});
  expect_refused(R"({"eos_token_id":[1,128000]})", {"eos_token_id", "128000", "between 0 and 127999"});
}

TEST(Config, LayerKindsInEveryLayout) {
  const std::string three = R"("num_hidden_layers":3,)";
  for (const char* given : {R"("attn_layer_indices":[2,0])", R"("layers_block_type":["attention","mamba","attention"])",
                            R"("layer_types":["full_attention","linear_attention","full_attention"])",
                            R"("attn_layer_indices":[0,2],"layer_types":["attention","mamba","full_attention"])",
                            R"("attn_layer_indices":null,"layer_types":["attention","mamba","full_attention"])"}) {
    SCOPED_TRACE(given);
    const BambaConfig c = read(str('{', three, given, '}'));
    EXPECT_EQ(c.attn_layer_indices, (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(c.layers_block_type(), (std::vector{LayerType::attention, LayerType::mamba, LayerType::attention}));
    expect_round_trip(c);
  }
  const auto refused = [&](std::string_view given, std::initializer_list<std::string_view> words) {
    expect_refused(str('{', three, given, '}'), words);
  };
  refused(R"("layer_types":["mamba","mamba"])", {"layer_types", "num_hidden_layers = 3"});
  refused(R"("layer_types":["mamba","mamba","conv"])", {"layer_types[2]", "\"conv\"", "linear_attention"});
  refused(R"("layer_types":"mamba")", {"layer_types", "\"mamba\"", "list"});
  refused(R"("attn_layer_indices":[0],"layer_types":["mamba","mamba","attention"])",
          {"layer_types", "[2]", "attn_layer_indices", "[0]"});
  refused(R"("attn_layer_indices":[3])", {"attn_layer_indices", "[3]", "between 0 and 2"});
  refused(R"("attn_layer_indices":[-1])", {"attn_layer_indices", "[-1]", "between 0 and 2"});
  refused(R"("attn_layer_indices":[1,1])", {"attn_layer_indices", "[1, 1]", "distinct"});
  refused(R"("attn_layer_indices":[1.0])", {"attn_layer_indices", "1.0", "integer"});
  refused(R"("attn_layer_indices":1)", {"attn_layer_indices", "1", "list"});
}

TEST(Config, InfinityInBothSpellings) {
  for (const char* limit : {"[0.0, Infinity]", R"([0.0, {"__float__": "Infinity"}])"}) {
    const BambaConfig c = read("time_step_limit", limit);
    EXPECT_EQ(c.time_step_limit[1], kInfinity);
    const std::string text = c.to_json();
    EXPECT_NE(text.find(R"("__float__": "Infinity")"), std::string::npos) << text;
    EXPECT_TRUE(Json::accept(text)) << "not strict JSON";
  }
  for (const char* limit : {"[0.0]", "[0,1,2]", "1", "null", R"(["0", 1])", R"([0, "Infinity"])"}) {
    expect_refused(str("{\"time_step_limit\":", limit, "}"), {"time_step_limit", "number"});
  }
  for (const char* limit : {"[-1, 1]", "[2, 1]", "[NaN, 1]", "[0, NaN]", "[Infinity, Infinity]"}) {
    expect_refused(str("{\"time_step_limit\":", limit, "}"), {"time_step_limit", "0 <= low <= high"});
  }
}

TEST(Config, OlderAndNewerKeysSayTheSame) {
  const BambaConfig older = read(R"({"rope_theta":500000.0,"torch_dtype":"bfloat16","attn_rotary_emb":64,
    "rope_scaling":{"type":"linear","factor":4.0}})");
  const BambaConfig newer = read(R"({"dtype":"bfloat16","partial_rotary_factor":0.5,
    "rope_parameters":{"rope_type":"linear","rope_theta":500000.0,"factor":4.0,"partial_rotary_factor":0.5}})");
  EXPECT_EQ(older, newer);
  EXPECT_EQ(older.rope.rope_type, "linear");
  EXPECT_EQ(older.rope.factor, 4.0);
  EXPECT_EQ(older.rope.rope_theta, 500000.0);
  EXPECT_EQ(older.dtype, DType::bf16);
  expect_round_trip(older);
  // The newer name has the last word, and "auto" says nothing.
  EXPECT_EQ(read(R"({"dtype":"float16","torch_dtype":"float32"})").dtype, DType::f16);
  EXPECT_EQ(read(R"({"torch_dtype":"torch.bfloat16"})").dtype, DType::bf16);
  EXPECT_FALSE(read(R"({"dtype":"auto"})").dtype.has_value());
  for (const char* dtype : {"\"int8\"", "\"float8_e4m3fn\"", "16", "\"float64\""}) {
    expect_refused(str("{\"dtype\":", dtype, "}"), {"dtype", dtype, "bfloat16"});
  }
}

TEST(Config, RopeTypes) {
  const BambaConfig llama3 = read(R"({"rope_parameters":{"rope_type":"llama3","factor":8,"low_freq_factor":1,
    "high_freq_factor":4,"original_max_position_embeddings":8192,"rope_theta":10000}})");
  EXPECT_EQ(llama3.rope.original_max_position_embeddings, 8192);
  expect_round_trip(llama3);
  const BambaConfig yarn = read(R"({"rope_scaling":{"rope_type":"yarn","factor":4,"beta_fast":16,"beta_slow":2,
    "attention_factor":1.5,"mscale":0.7,"mscale_all_dim":0.0,"truncate":false}})");
  EXPECT_EQ(yarn.rope.beta_fast, 16.0);
  EXPECT_EQ(yarn.rope.attention_factor, 1.5);
  EXPECT_FALSE(yarn.rope.truncate);
  expect_round_trip(yarn);
  for (const char* type : {"dynamic", "longrope", "su", ""}) {
    expect_refused(str(R"({"rope_parameters":{"rope_type":")", type, R"(","factor":2}})"),
                   {"rope_type", str('"', type, '"'), "default, linear, llama3, yarn"});
  }
  for (const char* type : {"linear", "llama3", "yarn"}) {
    expect_refused(str(R"({"rope_parameters":{"rope_type":")", type, R"("}})"), {"rope_parameters.factor", type});
  }
  expect_refused(R"({"rope_parameters":[1]})", {"rope_parameters", "[1]", "object"});
  expect_refused(R"({"rope_theta":0})", {"rope_theta", "0", "above 0"});
  expect_refused(R"({"rope_parameters":{"rope_type":"yarn","factor":2,"rope_theta":1}})", {"rope_theta", "above 1"});
  expect_refused(R"({"rope_parameters":{"rope_type":"linear","factor":-2}})", {"factor", "-2", "above 0"});
  expect_refused(R"({"rope_parameters":{"rope_type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":4}})",
                 {"high_freq_factor", "4", "above low_freq_factor"});
  expect_refused(R"({"rope_parameters":{"rope_type":"yarn","factor":2,"beta_fast":1,"beta_slow":2}})",
                 {"beta_fast", "1", "beta_slow = 2"});
}

TEST(Config, WarnsWhereTheFileCannotHaveItsWay) {
  const auto warned = [](std::string_view text, std::initializer_list<std::string_view> words) {
    const Warnings warnings;
    read(text);
    for (const auto word : words) EXPECT_TRUE(warnings.mention(word)) << word << " in: " << warnings.text();
  };
  warned(R"({"attn_rotary_emb":128})", {"dir/config.json", "attn_rotary_emb is 128", "64"});
  warned(R"({"partial_rotary_factor":1.0})", {"dir/config.json", "partial_rotary_factor is 1", "0.5"});
  warned(R"({"rope_parameters":{"partial_rotary_factor":0.25}})", {"rope_parameters.partial_rotary_factor is 0.25"});
  warned(R"({"rope_parameters":{"rope_theta":1e4},"rope_scaling":{"type":"linear","factor":2}})",
         {"rope_scaling is not used"});
  warned(R"({"rope_parameters":{"short_fact\u001bor":[1]}})", {R"(rope_parameters.short_fact\x1bor is not used)"});
  const Warnings none;
  read(R"({"attn_rotary_emb":64,"partial_rotary_factor":0.5,"rope_scaling":null,"unknown":1})");
  EXPECT_EQ(none.text(), "");
}

TEST(Config, KeepsUnknownKeys) {
  const char* text = R"({"zeta":{"b":[1,2.5,null,"é"],"a":NaN},"hidden_size":4096,"alpha":-0.0,
    "quantization_config":{"quant_method":"compressed-tensors"},"_name_or_path":"x","transformers_version":"4"})";
  const BambaConfig c = read(text);
  const Json written = Json::parse(c.to_json());
  EXPECT_EQ(written["zeta"].dump(), R"({"b":[1,2.5,null,"é"],"a":{"__float__":"NaN"}})");
  EXPECT_EQ(written["alpha"].dump(), "-0.0");
  EXPECT_EQ(written["quantization_config"]["quant_method"], "compressed-tensors");
  EXPECT_FALSE(written.contains("_name_or_path"));
  EXPECT_FALSE(written.contains("transformers_version"));
  EXPECT_EQ(written["model_type"], "bamba");
  expect_round_trip(c);
  EXPECT_NE(c, BambaConfig());
}

TEST(Config, EachValueIsChecked) {
  struct Case {
    const char* text;
    std::vector<const char*> words;  // key, value, what is allowed
  };
  const std::vector<Case> cases = {
      {R"({"mamba_n_heads":96})", {"mamba_n_heads", "96", "8192", "divisible"}},
      {R"({"mamba_d_head":32})", {"mamba_d_head", "32", "64"}},
      {R"({"mamba_n_groups":3})", {"mamba_n_groups", "3", "128", "divisible"}},
      {R"({"num_key_value_heads":5})", {"num_key_value_heads", "5", "32", "divisible"}},
      {R"({"num_attention_heads":24})", {"num_attention_heads", "24", "4096", "divisible"}},
      {R"({"num_attention_heads":2048,"attn_layer_indices":[0]})", {"num_attention_heads", "2048", "divisible by 4"}},
      {R"({"hidden_act":"tanh"})", {"hidden_act", "\"tanh\"", "silu", "gelu_new"}},
      {R"({"model_type":"mamba2"})", {"model_type", "\"mamba2\"", "\"bamba\""}},
      {R"({"pad_token_id":128000})", {"pad_token_id", "128000", "between 0 and 127999"}},
      {R"({"bos_token_id":-1})", {"bos_token_id", "-1", "between 0 and 127999"}},
      {R"({"rms_norm_eps":-1e-5})", {"rms_norm_eps", "-1e-05", "at least 0"}},
      {R"({"rms_norm_eps":NaN})", {"rms_norm_eps", "nan", "finite"}},
      {R"({"initializer_range":Infinity})", {"initializer_range", "inf", "finite"}},
      {R"({"z_loss_coefficient":-1})", {"z_loss_coefficient", "-1", "at least 0"}},
      {R"({"attention_dropout":1})", {"attention_dropout", "1", "below 1"}},
      {R"({"attention_dropout":NaN})", {"attention_dropout", "nan", "below 1"}},
      {R"({"time_step_min":0.2})", {"time_step_min", "0.2", "time_step_max = 0.1"}},
      {R"({"time_step_max":0})", {"time_step_max", "0", "above 0"}},
      {R"({"num_logits_to_keep":-1})", {"num_logits_to_keep", "-1", "between 0 and"}},
      {R"({"num_hidden_layers":65537})", {"num_hidden_layers", "65537", "between 1 and 65536"}},
      {R"({"hidden_size":1073741824,"num_attention_heads":1,"num_key_value_heads":1,"mamba_expand":4})",
       {"mamba_expand", "4", "2147483648"}},
      {R"({"mamba_d_state":2147483648})", {"mamba_d_state", "2147483648", "2147483648 wide"}},
      {R"({"mamba_n_groups":128,"mamba_d_state":1073741824})", {"mamba_d_state", "1073741824", "2147483648 wide"}},
      {R"({"hidden_size":268435456,"vocab_size":2147483648})", {"hidden_size", "268435456", "2^54"}},
  };
  for (const auto& [text, words] : cases) {
    for (const char* word : words) expect_refused(text, {word});
  }
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "max_position_embeddings", "mamba_n_heads", "mamba_d_head",
                          "mamba_n_groups", "mamba_d_state", "mamba_d_conv", "mamba_expand", "mamba_chunk_size"}) {
    for (const char* value : {"0", "-1", "2147483649", "9223372036854775807", "-9223372036854775808"}) {
      expect_refused(str("{\"", key, "\":", value, "}"), {key, value, "between 1 and"});
    }
    expect_refused(str("{\"", key, "\":9223372036854775808}"), {key, "9223372036854775808"});
    for (const char* value : {"\"8\"", "8.0", "true", "[8]"})
      expect_refused(str("{\"", key, "\":", value, "}"), {key, value});
  }
  for (const char* key :
       {"tie_word_embeddings", "use_cache", "mamba_conv_bias", "mamba_proj_bias", "attention_bias", "mlp_bias"}) {
    expect_refused(str("{\"", key, "\":1}"), {key, "1", "true or false"});
  }
  for (const char* key : {"rms_norm_eps", "initializer_range", "attention_dropout", "z_loss_coefficient",
                          "time_step_min", "time_step_max", "rope_theta"}) {
    expect_refused(str("{\"", key, "\":\"1\"}"), {key, "\"1\"", "a number"});
  }
}

TEST(Config, ValidateChecksWhatAProgramSets) {
  BambaConfig c;
  c.attn_layer_indices = {3, 1};
  expect_error(ErrorCode::invalid_config, {"attn_layer_indices", "[3, 1]", "rising"}, [&] { c.validate(); });
  c.attn_layer_indices = {1, 3};
  EXPECT_NO_THROW(c.validate());
  c.dtype = DType::i8;
  expect_error(ErrorCode::invalid_config, {"dtype", "int8", "bfloat16"}, [&] { c.validate(); });
}

TEST(Config, RefusesWhatIsNoConfig) {
  for (const char* text : {"", "{", "{\"a\":1,}", "{\"a\":\"\xff\"}"}) expect_refused(text, {"not valid JSON"});
  for (const char* text : {"[]", "1", "null", "\"x\""}) expect_refused(text, {text, "JSON object"});
  expect_refused(R"({"vocab_size":1,"vocab_size":2})", {"\"vocab_size\"", "twice"});
  expect_refused(std::string(100000, '['), {"deeper than 64"});
  expect_refused(std::string(300000, ' '), {"300000 bytes", "262144"});
  expect_refused(str("{\"hidden_size\":\"", std::string(1000, 'x'), "\"}"), {"hidden_size", "xxx..."});
  expect_refused(str("{\"hidden_size\":[", std::string(10000, ' '), "1,2,3,4,5,6,7,8,9]}"), {"a list of 9"});
}

TEST(Config, NamesAFileThatIsMissing) {
  const test::TempFolder folder;
  expect_error(ErrorCode::io, {(folder / "config.json").string()},
               [&] { BambaConfig::from_pretrained(folder.path()); });
  expect_error(ErrorCode::io, {(folder / "no").string()}, [&] { BambaConfig::from_pretrained(folder / "no"); });
  expect_error(ErrorCode::io, {}, [&] { BambaConfig::from_pretrained(std::string(5000, 'x')); });
  folder.put("config.json", R"({"vocab_size":0})");
  expect_error(ErrorCode::invalid_config, {(folder / "config.json").string(), "vocab_size is 0"},
               [&] { BambaConfig::from_pretrained(folder.path()); });
}

}  // namespace
}  // namespace bamba
