// Errors of the forward, loading and saving, states and caches.
#include <bamba/model.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/file.h"
#include "io/checkpoint.h"
#include "model/random_model.h"
#include "support/error.h"
#include "support/golden_folder.h"
#include "support/temp_folder.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using test::expect_error;
using test::golden_path;
using test::GoldenFolder;
using test::TempFolder;

Tensor ids_tensor(const std::vector<int64_t>& ids, Shape shape) {
  return Tensor::from(std::span<const int64_t>(ids), std::move(shape));
}

class Model : public ::testing::Test {
 protected:
  BambaForCausalLM model_ = GoldenFolder("a_base").load();

  void expect_bad(const ForwardInputs& inputs, std::initializer_list<std::string_view> parts) {
    expect_error(ErrorCode::invalid_argument, parts, [&] { model_.forward(inputs); });
  }
};

TEST_F(Model, RejectsBadArgumentsByName) {
  ForwardInputs in;
  expect_bad(in, {"exactly one of input_ids and inputs_embeds"});
  in.input_ids = ids_tensor({1, 2, 3}, {3});
  expect_bad(in, {"input_ids is I64 [3]", "[batch, seq]"});
  in.input_ids = ids_tensor({1, 259, 3}, {1, 3});
  expect_bad(in, {"input_ids[0, 1] is 259", "0 to 258"});
  in.input_ids = ids_tensor({1, -1, 3}, {1, 3});
  expect_bad(in, {"input_ids[0, 1] is -1"});
  in.input_ids = ids_tensor({}, {1, 0});
  expect_bad(in, {"must not be empty"});
  in.input_ids = ids_tensor({1, 2, 3}, {1, 3});
  in.attention_mask = ids_tensor({1, 1}, {1, 2});
  expect_bad(in, {"attention_mask is I64 [1, 2]", "[1, 3]"});
  in.attention_mask = ids_tensor({1, 2, 1}, {1, 3});
  expect_bad(in, {"attention_mask[0, 1] is 2"});
  in.attention_mask = {};
  in.position_ids = ids_tensor({0, 1}, {1, 2});
  expect_bad(in, {"position_ids is I64 [1, 2]"});
  in.position_ids = ids_tensor({0, 1, -7}, {1, 3});
  expect_bad(in, {"position id is -7"});
  in.position_ids = {};
  in.cache_position = ids_tensor({0, 2, 3}, {3});
  expect_bad(in, {"cache_position must rise by one"});
  in.cache_position = {};
  in.logits_to_keep = -1;
  expect_bad(in, {"logits_to_keep is -1"});
  in.logits_to_keep = 0;
  in.logits_to_keep_index = ids_tensor({3}, {1});
  expect_bad(in, {"logits_to_keep names column 3"});
  in.logits_to_keep_index = {};
  in.labels = ids_tensor({1, 2, 300}, {1, 3});
  expect_bad(in, {"labels[0, 2] is 300", "-100"});
  in.past_key_values = std::make_shared<HybridMambaAttentionDynamicCache>(model_.model(), 1);
  expect_bad(in, {"labels[0, 2] is 300"});
  EXPECT_EQ(in.past_key_values->row(0).length(), 0) << "refused before the cache went on";
  in.past_key_values = nullptr;
  in.labels = ids_tensor({1, 2, 3}, {1, 3});
  in.num_items_in_batch = 0;
  expect_bad(in, {"num_items_in_batch is 0"});
  in.num_items_in_batch.reset();
  in.labels = ids_tensor({1, 2, 3}, {3});
  expect_bad(in, {"labels is I64 [3]"});
  in.labels = {};
  in.past_key_values = std::make_shared<HybridMambaAttentionDynamicCache>(model_.model(), 2);
  expect_bad(in, {"past_key_values has 2 rows", "batch has 1"});
  const auto other = GoldenFolder("b_groups").load();
  in.past_key_values = std::make_shared<HybridMambaAttentionDynamicCache>(other.model(), 1);
  expect_bad(in, {"another model's"});
}

TEST_F(Model, RejectsBadRaggedBatchesBeforeAnyStateChanges) {
  SequenceState good = model_.new_state();
  SequenceState bad = model_.new_state();
  const std::vector<int64_t> ids = {1, 2, 3};
  const std::vector<int64_t> wrong = {1, 2, 999};
  std::vector<SequenceInput> batch(2);
  batch[0].state = &good;
  batch[0].input_ids = ids;
  batch[1].state = &bad;
  batch[1].input_ids = wrong;
  expect_error(ErrorCode::invalid_argument, {"sequence 1", "token 2", "999"}, [&] { model_.forward(batch); });
  EXPECT_EQ(good.length(), 0);
  batch[1].input_ids = {};
  expect_error(ErrorCode::invalid_argument, {"sequence 1", "no new tokens"}, [&] { model_.forward(batch); });
  batch[1].input_ids = ids;
  batch[1].state = &good;
  expect_error(ErrorCode::invalid_argument, {"same state"}, [&] { model_.forward(batch); });
  batch[1].state = nullptr;
  expect_error(ErrorCode::invalid_argument, {"sequence 1", "missing"}, [&] { model_.forward(batch); });
  batch[1] = {};
  batch[1].state = &bad;
  batch[1].inputs_embeds = Tensor::zeros(DType::f32, {2, 5});
  expect_error(ErrorCode::invalid_argument, {"sequence 1", "hidden_size"}, [&] { model_.forward(batch); });
  EXPECT_EQ(good.length(), 0);
}

TEST_F(Model, WarnsOnceWhenASequenceOutgrowsTheModel) {
  BambaConfig config = model_.config();
  config.max_position_embeddings = 6;
  const auto small = test::random_model(config, 1);
  const test::Warnings warnings;
  SequenceState state = small.new_state();
  const std::vector<int64_t> ids = {1, 2, 3, 4};
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  for (int i = 0; i < 4; ++i) small.forward(std::span<const SequenceInput>(&input, 1));
  ASSERT_EQ(warnings.all().size(), 1U) << warnings.text();
  EXPECT_TRUE(warnings.mention("max_position_embeddings of 6")) << warnings.text();
}

TEST_F(Model, APaddedColumnAnywhereIsANoOp) {
  ForwardInputs holes;
  holes.input_ids = ids_tensor({5, 0, 6, 0, 0, 7, 8, 0}, {1, 8});
  holes.attention_mask = ids_tensor({1, 0, 1, 0, 0, 1, 1, 0}, {1, 8});
  ForwardInputs dense;
  dense.input_ids = ids_tensor({5, 6, 7, 8}, {1, 4});
  const auto a = model_.forward(holes);
  const auto b = model_.forward(dense);
  const size_t row = static_cast<size_t>(model_.config().vocab_size);
  const size_t real[] = {0, 2, 5, 6};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(0, std::memcmp(a.logits.data<float>().data() + real[i] * row, b.logits.data<float>().data() + i * row,
                             row * sizeof(float)));
  }
  for (const int64_t layer : {0, 2}) {
    const Tensor x = a.past_key_values->ssm_states(layer);
    const Tensor y = b.past_key_values->ssm_states(layer);
    EXPECT_EQ(0, std::memcmp(x.raw(), y.raw(), x.nbytes()));
  }
  // A row of nothing but padding leaves its state alone.
  ForwardInputs empty;
  empty.input_ids = ids_tensor({1, 2}, {1, 2});
  empty.attention_mask = ids_tensor({0, 0}, {1, 2});
  const auto nothing = model_.forward(empty);
  EXPECT_EQ(nothing.past_key_values->row(0).length(), 0);
  EXPECT_EQ(nothing.logits.data<float>()[0], 0.0f);
}

TEST_F(Model, UseCacheDecidesWhetherACacheComesBack) {
  ForwardInputs in;
  in.input_ids = ids_tensor({1, 2}, {1, 2});
  EXPECT_TRUE(model_.forward(in).past_key_values);
  in.use_cache = false;
  EXPECT_FALSE(model_.forward(in).past_key_values);
}

TEST_F(Model, ReorderCachePermutesEverything) {
  ForwardInputs in;
  in.input_ids = ids_tensor({1, 2, 3, 4, 5, 6}, {2, 3});
  auto cache = model_.forward(in).past_key_values;
  const auto original = cache->fork();
  const std::vector<int64_t> order = {1, 1, 0};
  cache->reorder_cache(order);
  ASSERT_EQ(cache->batch_size(), 3);
  for (size_t i = 0; i < order.size(); ++i) {
    const SequenceState& a = cache->row(static_cast<int64_t>(i));
    const SequenceState& b = original.row(order[i]);
    for (const auto& [x, y] : {std::pair{a.conv_state(0), b.conv_state(0)},
                               {a.ssm_state(2), b.ssm_state(2)},
                               {a.key(1), b.key(1)},
                               {a.value(3), b.value(3)}}) {
      EXPECT_EQ(0, std::memcmp(x.raw(), y.raw(), x.nbytes()));
    }
  }
  const std::vector<int64_t> bad = {3};
  expect_error(ErrorCode::invalid_argument, {"row 3", "has 3"}, [&] { cache->reorder_cache(bad); });
}

TEST_F(Model, AStateGrowsByKeysAndValuesOnly) {
  const ModelInfo info = model_.model().info();
  SequenceState state = model_.new_state();
  EXPECT_EQ(state.bytes(), info.state_bytes);
  const std::vector<int64_t> ids(640, 7);
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  model_.forward(std::span<const SequenceInput>(&input, 1));
  EXPECT_EQ(state.length(), 640);
  EXPECT_EQ(state.bytes(), info.state_bytes + 640 * info.kv_bytes_per_token);  // 640: whole pages
  state.reset();
  EXPECT_EQ(state.length(), 0);
  EXPECT_EQ(state.bytes(), info.state_bytes);
}

TEST_F(Model, EmptyStatesAreRefused) {
  const SequenceState empty;
  for (const auto get :
       {&SequenceState::conv_state, &SequenceState::ssm_state, &SequenceState::key, &SequenceState::value}) {
    expect_error(ErrorCode::invalid_argument, {"empty SequenceState"}, [&] { (empty.*get)(0); });
  }
  ForwardInputs inputs;
  inputs.input_ids = Tensor::from(std::vector<int64_t>{1, 2}, {2, 1});
  std::vector<SequenceState> rows(2);
  rows[0] = model_.new_state();
  inputs.past_key_values = std::make_shared<HybridMambaAttentionDynamicCache>(std::move(rows));
  expect_error(ErrorCode::invalid_argument, {"row 1 of past_key_values"}, [&] { model_.forward(inputs); });
}

TEST(LoadState, ALengthThatNoTensorVouchesForIsBounded) {
  // Without attention layers no shape holds the length: 2^63 - 1 must not overflow what is computed from it.
  test::Rng rng(5);
  BambaConfig config = test::random_config(rng);
  config.attn_layer_indices.clear();
  const BambaForCausalLM model = test::random_model(config, 1);
  const TempFolder folder;
  model.new_state().save(folder / "state");
  std::string bytes = folder.get("state");
  const std::string before = R"("length":"0")";
  const size_t at = bytes.find(before);
  ASSERT_NE(at, std::string::npos);
  const std::string huge = R"("length":"9223372036854775807")";
  bytes.replace(at, before.size(), huge);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  header += huge.size() - before.size();
  std::memcpy(bytes.data(), &header, sizeof(header));
  const auto path = folder.put("huge", bytes);
  expect_error(ErrorCode::invalid_file, {"length", "9223372036854775807"}, [&] { model.model().load_state(path); });
}

TEST_F(Model, DamagedAndForeignStatesAreRefused) {
  const TempFolder folder;
  const auto path = folder.path() / "state.safetensors";
  SequenceState state = model_.new_state();
  const std::vector<int64_t> ids = {1, 2, 3};
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  model_.forward(std::span<const SequenceInput>(&input, 1));
  state.save(path);
  EXPECT_EQ(model_.model().load_state(path).length(), 3);
  const auto other = GoldenFolder("d_mqa").load();
  expect_error(ErrorCode::invalid_file, {"another model"}, [&] { other.model().load_state(path); });

  const std::string whole = read_file(path, 1 << 24);
  std::string flipped = whole;
  flipped[whole.size() - 5] ^= 1;
  write_file_atomically(path, flipped);
  expect_error(ErrorCode::invalid_file, {"damaged", "checksum"}, [&] { model_.model().load_state(path); });
  write_file_atomically(path, std::string_view(whole).substr(0, whole.size() - 100));
  expect_error(ErrorCode::invalid_checkpoint, {path.string()}, [&] { model_.model().load_state(path); });
  expect_error(ErrorCode::invalid_file, {"not a saved sequence state"},
               [&] { model_.model().load_state(golden_path("a_base") / "model.safetensors"); });
}

// --- checkpoints ------------------------------------------------------------------------------------------------

void expect_same_model(const BambaForCausalLM& a, const BambaForCausalLM& b) {
  ForwardInputs in;
  in.input_ids = ids_tensor({1, 2, 3, 4, 5, 6, 7}, {1, 7});
  const Tensor x = a.forward(in).logits;
  const Tensor y = b.forward(in).logits;
  ASSERT_EQ(x.shape(), y.shape());
  EXPECT_EQ(0, std::memcmp(x.raw(), y.raw(), x.nbytes()));
}

TEST(SavePretrained, RoundTripsSingleAndSharded) {
  for (const std::string name : {"a_base", "b_groups", "c_tied_mha", "e_no_attention"}) {
    const auto model = GoldenFolder(name).load();
    for (const uint64_t shard : {uint64_t{1} << 40, uint64_t{40'000}}) {
      const TempFolder folder;
      SaveOptions options;
      options.max_shard_bytes = shard;
      model.save_pretrained(folder.path(), options);
      expect_same_model(model, BambaForCausalLM::from_pretrained(folder.path(), test::on_test_device()));
      EXPECT_EQ(std::filesystem::exists(folder.path() / "model.safetensors.index.json"), shard == 40'000);
      EXPECT_TRUE(std::filesystem::exists(folder.path() / "generation_config.json"));
    }
  }
}

TEST(SavePretrained, SixteenBitWeightsRoundTrip) {
  for (const WeightFormat format : {WeightFormat::bf16, WeightFormat::f16}) {
    RunOptions run;
    run.weights = format;
    if (format == WeightFormat::f16 && test::on_test_device().device != "cpu") continue;  // the CPU's only
    const auto model = GoldenFolder("c_tied_mha").load(run);
    const TempFolder folder;
    model.save_pretrained(folder.path());
    const auto again = BambaForCausalLM::from_pretrained(folder.path(), test::on_test_device());
    EXPECT_EQ(again.model().info().weights, format);
    expect_same_model(model, again);
  }
}

TEST(FromConfig, IsTheSameForTheSameSeedAndEqualsItsCheckpoint) {
  test::Rng rng(5);
  const BambaConfig config = test::random_config(rng);
  InitOptions init;
  init.seed = 42;
  RunOptions one;
  one.threads = 1;
  const auto a = BambaForCausalLM::from_config(config, init, one);
  const auto b = BambaForCausalLM::from_config(config, init);
  expect_same_model(a, b);
  const TempFolder folder;
  init_checkpoint(folder.path(), config, init, DType::f32, 20'000);
  expect_same_model(a, BambaForCausalLM::from_pretrained(folder.path()));
  init.seed = 43;
  ForwardInputs in;
  in.input_ids = ids_tensor({1, 2}, {1, 2});
  const Tensor x = a.forward(in).logits;
  const Tensor y = BambaForCausalLM::from_config(config, init).forward(in).logits;
  EXPECT_NE(0, std::memcmp(x.raw(), y.raw(), x.nbytes()));
}

TEST(FromConfig, RepeatedMatricesAreDrawnFromTheSameDistribution) {
  test::Rng rng(6);
  BambaConfig config = test::random_config(rng);
  config.vocab_size = 40'000;  // more values than the block has
  config.initializer_range = 0.02;
  config.pad_token_id = 3;
  InitOptions init;
  init.matrices = MatrixInit::repeated;
  RunOptions one;
  one.threads = 1;
  expect_same_model(BambaForCausalLM::from_config(config, init, one), BambaForCausalLM::from_config(config, init));
  const TempFolder folder;
  init_checkpoint(folder.path(), config, init, DType::f32, uint64_t{1} << 40);
  expect_same_model(BambaForCausalLM::from_config(config, init), BambaForCausalLM::from_pretrained(folder.path()));

  const auto checkpoint = Checkpoint::open(folder.path());
  const Tensor embedding = checkpoint.tensor("model.embed_tokens.weight");
  const auto values = embedding.data<float>();
  const auto width = static_cast<size_t>(config.hidden_size);
  double squares = 0;
  for (const float value : values) squares += value * value;
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(values.size())), 0.02, 0.001);
  for (size_t i = 3 * width; i < 4 * width; ++i) EXPECT_EQ(values[i], 0.0f);
  // Rows start at different places of the block.
  EXPECT_NE(0, std::memcmp(&values[0], &values[width], width * sizeof(float)));
}

TEST(FromConfig, FollowsTheInitialisationRules) {
  BambaConfig config = BambaConfig::from_pretrained(golden_path("a_base"));
  const TempFolder folder;
  init_checkpoint(folder.path(), config, {}, DType::f32, uint64_t{1} << 40);
  const auto checkpoint = Checkpoint::open(folder.path());
  const auto values = [&](const std::string& name) { return checkpoint.tensor(name).data<float>(); };
  const auto embedding = values("model.embed_tokens.weight");
  double sum = 0;
  double squares = 0;
  for (size_t i = 64; i < embedding.size(); ++i) {
    sum += embedding[i];
    squares += embedding[i] * embedding[i];
  }
  const auto count = static_cast<double>(embedding.size() - 64);
  // 16.5k numbers: the mean is within 0.02 / sqrt(n) = 1.6e-4 (one sigma), the deviation within 0.6 % (one sigma).
  EXPECT_NEAR(sum / count, 0.0, 8e-4);
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.0006);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(embedding[i], 0.0f);  // pad_token_id 0
  const auto a_log = values("model.layers.0.mamba.A_log");
  for (size_t h = 0; h < a_log.size(); ++h) EXPECT_FLOAT_EQ(a_log[h], std::log(static_cast<float>(h + 1)));
  for (const float d : values("model.layers.0.mamba.D")) EXPECT_EQ(d, 1.0f);
  for (const float bias : values("model.layers.0.mamba.dt_bias")) EXPECT_EQ(bias, 1.0f);
  for (const float bias : values("model.layers.0.mamba.conv1d.bias")) EXPECT_EQ(bias, 0.0f);

  InitOptions older;
  older.dt_bias = DtBiasInit::inverse_softplus;
  init_checkpoint(folder.path(), config, older, DType::f32, uint64_t{1} << 40);
  const auto reopened = Checkpoint::open(folder.path());
  for (const float bias : reopened.tensor("model.layers.0.mamba.dt_bias").data<float>()) {
    const double step = std::log1p(std::exp(static_cast<double>(bias)));
    EXPECT_GE(step, config.time_step_min * 0.999);
    EXPECT_LE(step, config.time_step_max * 1.001);
  }
}

/// A copy of a_base's tensors that a test may change before writing them.
class EditedCheckpoint {
 public:
  EditedCheckpoint() {
    const auto checkpoint = Checkpoint::open(golden_path("a_base"));
    for (const std::string& name : checkpoint.names()) tensors_.emplace_back(name, checkpoint.tensor(name).clone());
    std::filesystem::copy(golden_path("a_base") / "config.json", folder_.path() / "config.json");
  }
  NamedTensors::iterator find(const std::string& name) {
    return std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& item) { return item.first == name; });
  }
  NamedTensors& tensors() { return tensors_; }
  const std::filesystem::path& folder() const { return folder_.path(); }
  void write() const { save_safetensors(folder_.path() / "model.safetensors", tensors_); }
  void expect_refused(std::initializer_list<std::string_view> parts) const {
    write();
    expect_error(ErrorCode::invalid_checkpoint, parts, [&] { BambaForCausalLM::from_pretrained(folder_.path()); });
  }

 private:
  TempFolder folder_;
  NamedTensors tensors_;
};

TEST(FromPretrained, NamesWhatDoesNotFit) {
  const std::string name = "model.layers.2.mamba.A_log";
  {
    EditedCheckpoint edited;
    edited.tensors().erase(edited.find(name));
    edited.expect_refused({name, "missing"});
  }
  {
    EditedCheckpoint edited;
    edited.tensors().emplace_back("model.layers.9.extra", Tensor::zeros(DType::f32, {2}));
    edited.expect_refused({"model.layers.9.extra", "not part of this model"});
  }
  {
    EditedCheckpoint edited;
    edited.find(name)->second = Tensor::zeros(DType::f32, {9});
    edited.expect_refused({name, "[9]", "[8]"});
  }
  {
    EditedCheckpoint edited;
    edited.find(name)->second = Tensor::zeros(DType::i64, {8});
    edited.expect_refused({name, "I64"});
  }
  {
    EditedCheckpoint edited;
    edited.write();
    std::filesystem::resize_file(edited.folder() / "model.safetensors", 100'000);
    expect_error(ErrorCode::invalid_checkpoint, {"model.safetensors"},
                 [&] { BambaForCausalLM::from_pretrained(edited.folder()); });
  }
  expect_error(ErrorCode::io, {"/nonexistent"}, [] { BambaForCausalLM::from_pretrained("/nonexistent"); });
  RunOptions options;
  options.device = "tpu";
  expect_error(ErrorCode::unsupported, {"tpu", "cpu"},
               [&] { BambaForCausalLM::from_pretrained(golden_path("a_base"), options); });
}

TEST(Forward, TheCpuLeavesDrawsToItsCaller) {
  const auto model = BambaForCausalLM::from_pretrained(golden_path("a_base"));
  EXPECT_FALSE(model.model().draws_tokens());
  SequenceState state = model.new_state();
  const std::vector<int64_t> ids = {1, 2};
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  RaggedOptions options;
  const TokenDraw draw;
  options.draws = {&draw, 1};
  expect_error(ErrorCode::unsupported, {"cpu", "draws no tokens"},
               [&] { static_cast<void>(model.forward(std::span<const SequenceInput>(&input, 1), options)); });
  EXPECT_EQ(state.length(), 0);
}

/// Rounds to E4M3 by search: 256 values are few.
uint8_t nearest_e4m3(float value) {
  uint8_t best = 0;
  float distance = std::abs(value);
  for (int bits = 1; bits < 256; ++bits) {
    if ((bits & 0x7F) == 0x7F) continue;
    const int exponent = (bits >> 3) & 15;
    const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(bits & 7), -9)
                                          : std::ldexp(static_cast<float>(8 + (bits & 7)), exponent - 10);
    const float candidate = (bits & 128) != 0 ? -magnitude : magnitude;
    if (std::abs(value - candidate) < distance) {
      distance = std::abs(value - candidate);
      best = static_cast<uint8_t>(bits);
    }
  }
  return best;
}

TEST(FromPretrained, ReadsEightBitFloatsWithTheirScales) {
  for (const bool per_row : {false, true}) {
    EditedCheckpoint coded;
    EditedCheckpoint plain;
    for (const std::string name : {"model.layers.0.mamba.in_proj.weight", "model.layers.1.self_attn.q_proj.weight"}) {
      Tensor& weight = coded.find(name)->second;
      const int64_t rows = weight.dim(0);
      Tensor bits = Tensor::empty(DType::f8_e4m3, weight.shape());
      Tensor scales = Tensor::empty(DType::f32, per_row ? Shape{rows, 1} : Shape{1});
      for (int64_t r = 0; r < scales.numel(); ++r) scales.data<float>()[r] = 0.004f * static_cast<float>(1 + r % 3);
      Tensor& expected = plain.find(name)->second;
      for (int64_t i = 0; i < weight.numel(); ++i) {
        const float scale = scales.data<float>()[per_row ? i / weight.dim(1) : 0];
        const uint8_t code = nearest_e4m3(weight.data<float>()[i] / scale);
        static_cast<uint8_t*>(bits.raw())[i] = code;
        const int exponent = (code >> 3) & 15;
        const float magnitude = exponent == 0 ? static_cast<float>(code & 7) / 512.0f
                                              : static_cast<float>(8 + (code & 7)) * std::exp2f(float(exponent - 10));
        expected.data<float>()[i] = ((code & 128) != 0 ? -magnitude : magnitude) * scale;
      }
      weight = bits;
      coded.tensors().emplace_back(name + "_scale", scales);
    }
    coded.write();
    plain.write();
    expect_same_model(BambaForCausalLM::from_pretrained(plain.folder()),
                      BambaForCausalLM::from_pretrained(coded.folder()));
    // Asked for as fp8, they keep their own codes and scales, which the CPU holds as bf16; all else is bf16 then.
    RunOptions run;
    run.weights = WeightFormat::fp8;
    const auto as_fp8 = BambaForCausalLM::from_pretrained(coded.folder(), run);
    EXPECT_EQ(as_fp8.model().info().weights, WeightFormat::bf16);
    run.weights = WeightFormat::bf16;
    expect_same_model(BambaForCausalLM::from_pretrained(coded.folder(), run), as_fp8);
    coded.tensors().erase(coded.find("model.layers.1.self_attn.q_proj.weight_scale"));
    coded.expect_refused({"model.layers.1.self_attn.q_proj.weight_scale", "missing"});
  }
}

}  // namespace
}  // namespace bamba
