// Whole models on the GPU against the same models on the CPU.
#include <bamba/error.h>
#include <bamba/generation.h>
#include <bamba/model.h>
#include <bamba/quantize.h>

#include <algorithm>
#include <cmath>

#include "cuda/device.h"
#include "cuda/model_support.h"
#include "generation/random.h"
#include "generation/sampler.h"
#include "generation/warpers.h"
#include "model/random_model.h"
#include "support/error.h"
#include "support/same_bits.h"
#include "support/temp_folder.h"

namespace bamba {
namespace {

using test::Batch;
using test::difference;
using test::largest;
using test::options;
using test::random_config;
using test::random_model;
using test::Rng;

class CudaModel : public ::testing::TestWithParam<int> {};

/// Prompts of all lengths in one batch, then decoding, which soon runs as a replayed graph; in f32 both devices differ
/// by the order of their sums only.
TEST_P(CudaModel, AgreesWithTheCpuInF32) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  const BambaConfig config = random_config(rng);
  const WeightFormat format = seed % 2 == 0 ? WeightFormat::f32 : WeightFormat::bf16;
  RunOptions gpu_options = options("cuda", format);
  gpu_options.activations = ActivationFormat::f32;
  const auto gpu = random_model(config, seed, gpu_options);
  const auto cpu = random_model(config, seed, options("cpu", format));
  Batch on_gpu(gpu);
  Batch on_cpu(cpu);
  std::vector<std::vector<int64_t>> tokens;
  for (int i = 0; i < 3; ++i) {
    on_gpu.add();
    on_cpu.add();
    tokens.push_back(rng.ids(rng.one_of<int64_t>({1, 2, 17, 33, 64, 100, 300}), config.vocab_size));
  }
  for (int step = 0; step < 12; ++step) {
    const Tensor reference = on_cpu.run(tokens);
    const Tensor result = on_gpu.run(tokens);
    ASSERT_LE(difference(result, reference), 1e-4 * largest(reference)) << "step " << step;
    for (auto& each : tokens) each = rng.ids(1, config.vocab_size);
  }
}

/// Prompts and decoding, company and cuts: all the same to the bit.
void expect_bit_exact(uint64_t seed, WeightFormat format) {
  Rng rng(seed);
  const BambaConfig config = random_config(rng);
  RunOptions run = options("cuda", format);
  run.bit_exact = true;
  run.scan.reset();
  run.kv.reset();
  const auto model = random_model(config, seed, run);
  const auto ids = rng.ids(150, config.vocab_size);
  Batch alone(model);
  alone.add();
  const Tensor whole = alone.run({ids});
  Batch company(model);
  company.add();
  company.add();
  const auto row = static_cast<size_t>(config.vocab_size);
  for (size_t first = 0; first < ids.size();) {
    const size_t count =
        std::min<size_t>(ids.size() - first, static_cast<size_t>(rng.one_of<int64_t>({1, 1, 2, 9, 40})));
    const std::vector<int64_t> piece(ids.begin() + static_cast<std::ptrdiff_t>(first),
                                     ids.begin() + static_cast<std::ptrdiff_t>(first + count));
    const Tensor logits = company.run({piece, rng.ids(rng.between(1, 70), config.vocab_size)});
    EXPECT_TRUE(test::same_bits(whole.data<float>().subspan(first * row, count * row),
                                logits.data<float>().subspan(0, count * row)))
        << first;
    first += count;
  }
}

TEST_P(CudaModel, BitExactIsIndependentOfCompanyAndCut) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  expect_bit_exact(seed, seed % 2 == 0 ? WeightFormat::bf16 : WeightFormat::q4);
}

TEST_P(CudaModel, BitExactIsThatInFp8) {
  BAMBA_SKIP_WITHOUT_GPU();
  expect_bit_exact(static_cast<uint64_t>(GetParam()), WeightFormat::fp8);
}

TEST_P(CudaModel, StatesForkAndMoveBetweenDevices) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  const BambaConfig config = random_config(rng);
  const auto gpu = random_model(config, seed, options("cuda", WeightFormat::f32));
  const auto cpu = random_model(config, seed, options("cpu", WeightFormat::f32));
  Batch first(gpu);
  first.add();
  first.run({rng.ids(70, config.vocab_size)});
  const test::TempFolder folder;
  first.state(0).save(folder.path() / "state");
  SequenceState copy = first.state(0).fork();
  SequenceState restored = gpu.model().load_state(folder.path() / "state");
  SequenceState moved = cpu.model().load_state(folder.path() / "state");
  const auto next = rng.ids(9, config.vocab_size);
  const Tensor reference = first.run({next});
  const auto run = [&](const BambaForCausalLM& model, SequenceState& state) {
    SequenceInput input;
    input.state = &state;
    input.input_ids = next;
    input.logits = LogitsToKeep::all;
    return model.forward(std::span<const SequenceInput>(&input, 1)).logits;
  };
  EXPECT_EQ(difference(run(gpu, copy), reference), 0);
  EXPECT_EQ(difference(run(gpu, restored), reference), 0);
  EXPECT_LE(difference(run(cpu, moved), reference), 1e-4 * largest(reference));
}

TEST_P(CudaModel, BestIdsAreThoseOfTheLogits) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  const BambaConfig config = random_config(rng);
  const auto model = random_model(config, seed, options("cuda", WeightFormat::bf16));
  std::vector<std::vector<int64_t>> tokens;
  std::vector<SequenceState> states;
  std::vector<SequenceInput> inputs(3);
  for (size_t i = 0; i < inputs.size(); ++i) {
    tokens.push_back(rng.ids(rng.between(1, 40), config.vocab_size));
    states.push_back(model.new_state());
  }
  const auto give = [&](std::vector<SequenceState>& to) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      inputs[i].state = &to[i];
      inputs[i].input_ids = tokens[i];
    }
  };
  std::vector<SequenceState> others;
  for (SequenceState& state : states) others.push_back(state.fork());
  give(states);
  const auto with_logits = model.forward(std::span<const SequenceInput>(inputs));
  give(others);
  RaggedOptions best;
  best.best_ids_only = true;
  const auto with_ids = model.forward(std::span<const SequenceInput>(inputs), best);
  EXPECT_FALSE(with_ids.logits);
  ASSERT_EQ(with_ids.best_ids.size(), inputs.size());
  const auto vocab = static_cast<size_t>(config.vocab_size);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto row = with_logits.logits.data<float>().subspan(i * vocab, vocab);
    EXPECT_EQ(with_ids.best_ids[i], std::max_element(row.begin(), row.end()) - row.begin());
  }
}

/// The same number picks the same token on both devices' terms: the CPU's warpers and draw from the logits of one pass,
/// the kernel from the same. Where rounding may decide otherwise (a number at the edge of a token's share) neither is
/// held against the other.
TEST_P(CudaModel, DrawsAreThoseOfTheLogits) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  const BambaConfig config = random_config(rng);
  const auto model = random_model(config, seed, options("cuda", WeightFormat::bf16));
  ASSERT_TRUE(model.model().draws_tokens());
  constexpr size_t kRows = 6;
  std::vector<std::vector<int64_t>> tokens;
  std::vector<SequenceState> states;
  std::vector<SequenceState> others;
  states.reserve(kRows);  // inputs point into both
  others.reserve(kRows);
  std::vector<SequenceInput> inputs(kRows);
  std::vector<TokenDraw> draws;
  for (size_t i = 0; i < kRows; ++i) {
    tokens.push_back(rng.ids(rng.between(1, 40), config.vocab_size));
    states.push_back(model.new_state());
    others.push_back(states[i].fork());
    inputs[i].state = &states[i];
    inputs[i].input_ids = tokens[i];
    inputs[i].logits = i == 1 ? LogitsToKeep::none : LogitsToKeep::last;
    if (i == 1) continue;
    TokenDraw draw;  // every row its own settings
    draw.uniform = uniform_draw(seed, static_cast<int64_t>(i), 0, 0);
    draw.temperature = i == 2 ? 0 : 0.05 * static_cast<double>(i + 1);
    draw.top_k = i == 3 ? 5 : 0;
    draw.top_p = i == 4 ? 0.8 : 1;
    if (i == 5) draw.min_p = 0.05;
    draws.push_back(draw);
  }
  const auto with_logits = model.forward(std::span<const SequenceInput>(inputs));
  for (size_t i = 0; i < kRows; ++i) inputs[i].state = &others[i];
  RaggedOptions options;
  options.draws = draws;
  const auto drawn = model.forward(std::span<const SequenceInput>(inputs), options);
  EXPECT_FALSE(drawn.logits);
  ASSERT_EQ(drawn.drawn_ids.size(), draws.size());
  const auto vocab = static_cast<size_t>(config.vocab_size);
  for (size_t i = 0; i < draws.size(); ++i) {
    SCOPED_TRACE(i);
    const TokenDraw& draw = draws[i];
    const auto row = with_logits.logits.data<float>().subspan(i * vocab, vocab);
    std::vector<float> scores(row.begin(), row.end());
    if (draw.temperature == 0) {
      EXPECT_EQ(drawn.drawn_ids[i], greedy_token(scores));
      continue;
    }
    Warpers warpers({.temperature = draw.temperature, .top_k = draw.top_k, .top_p = draw.top_p, .min_p = draw.min_p});
    const auto candidates = warpers.apply(scores);
    Sampler sampler;
    sampler.set(candidates);
    double before = 0;
    for (size_t c = 0; c < candidates.size(); ++c) {
      const double after = before + sampler.probability(c);
      // Exponentials in f32.
      if (draw.uniform > before + 1e-5 && draw.uniform < after - 1e-5) {
        EXPECT_EQ(drawn.drawn_ids[i], candidates[c].id);
      }
      before = after;
    }
  }
}

/// generate() draws on the GPU unless something else is asked about the logits, such as by a processor.
TEST_P(CudaModel, GenerateDrawsTheSameTokensThere) {
  BAMBA_SKIP_WITHOUT_GPU();
  const auto seed = static_cast<uint64_t>(GetParam());
  Rng rng(seed);
  const BambaConfig config = random_config(rng);
  const auto model = random_model(config, seed, options("cuda", WeightFormat::f32));
  GenerationConfig sampled;
  sampled.do_sample = true;
  sampled.seed = seed;
  sampled.max_new_tokens = 12;
  sampled.temperature = 0.3;
  sampled.top_k = 20;
  sampled.top_p = 0.95;
  sampled.num_return_sequences = 2;
  const std::vector<std::vector<int64_t>> prompts = {rng.ids(9, config.vocab_size), rng.ids(30, config.vocab_size)};
  const auto there = generate(model, prompts, sampled, {});
  GenerateOptions here;
  int64_t asked = 0;
  here.processors.push_back([&](std::span<const int64_t>, std::span<float>) { ++asked; });
  const auto host = generate(model, prompts, sampled, here);
  EXPECT_GT(asked, 0);
  ASSERT_EQ(there.sequences.size(), host.sequences.size());
  for (size_t i = 0; i < host.sequences.size(); ++i) EXPECT_EQ(there.sequences[i].ids, host.sequences[i].ids) << i;
}

TEST(CudaDraws, WhatDoesNotFitIsRefused) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(3);
  const BambaConfig config = random_config(rng);
  const auto model = random_model(config, 3, options("cuda", WeightFormat::bf16));
  SequenceState state = model.new_state();
  const std::vector<int64_t> ids = {1, 2, 3};
  SequenceInput input;
  input.state = &state;
  input.input_ids = ids;
  const auto refused = [&](std::vector<TokenDraw> draws, std::string_view words, bool best = false) {
    RaggedOptions run;
    run.draws = draws;
    run.best_ids_only = best;
    test::expect_error(ErrorCode::invalid_argument, {words},
                       [&] { static_cast<void>(model.forward(std::span<const SequenceInput>(&input, 1), run)); });
    EXPECT_EQ(state.length(), 0);
  };
  refused(std::vector<TokenDraw>(2), "2 draws for 1 kept tokens");
  refused({TokenDraw{}}, "best_ids_only", true);
  TokenDraw draw;
  draw.uniform = 1;
  refused({draw}, "uniform is 1");
  draw = {};
  draw.temperature = -1;
  refused({draw}, "temperature is -1");
  draw = {};
  draw.top_k = -1;
  refused({draw}, "top_k is -1");
  draw = {};
  draw.top_p = 1.5;
  refused({draw}, "top_p is 1.5");
  draw = {};
  draw.min_p = -0.5;
  refused({draw}, "min_p is -0.5");
}
INSTANTIATE_TEST_SUITE_P(Seeds, CudaModel, ::testing::Range(0, 10));

TEST(CudaMemory, TooLittleIsSaid) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(1);
  const BambaConfig config = random_config(rng);
  RunOptions run = options("cuda", WeightFormat::f32);
  run.gpu_memory = size_t{64} << 20;
  const auto model = random_model(config, 1, run);
  std::vector<SequenceState> states;
  try {
    for (int i = 0; i < 1'000'000; ++i) states.push_back(model.new_state());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(std::string(error.what()).find("--gpu-memory"), std::string::npos) << error.what();
  }
  // What was given back serves again.
  states.clear();
  states.push_back(model.new_state());
  run.gpu_memory = size_t{1} << 60;
  try {
    static_cast<void>(random_model(config, 1, run));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_NE(std::string(error.what()).find("GB free"), std::string::npos) << error.what();
  }
}

/// The message of the Error(out_of_memory) that body() throws.
template <typename Body>
std::string out_of_memory(Body body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(CudaMemory, AModelThatCannotFitIsRefusedAtOnce) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(1);
  BambaConfig config = random_config(rng);
  config.vocab_size = 1'000'000;
  config.tie_word_embeddings = true;
  RunOptions run = options("cuda", WeightFormat::f32);
  run.gpu_memory = size_t{128} << 20;
  bool loaded = false;
  run.progress = [&](std::string_view, uint64_t done, uint64_t) { loaded = loaded || done > 0; };
  const std::string text = out_of_memory([&] { static_cast<void>(random_model(config, 1, run)); });
  EXPECT_NE(text.find("--weights bf16 needs"), std::string::npos) << text;
  EXPECT_FALSE(loaded);
}

TEST(CudaMemory, GrowthThatDoesNotFitIsSaid) {
  BAMBA_SKIP_WITHOUT_GPU();
  Rng rng(1);
  const BambaConfig config = random_config(rng);
  ASSERT_GT(config.num_attention_layers(), 0);
  RunOptions run = options("cuda", WeightFormat::f32);
  run.gpu_memory = size_t{64} << 20;
  const auto model = random_model(config, 1, run);
  const auto ids = rng.ids(64, config.vocab_size);
  SequenceState grown = model.new_state();
  const auto grow = [&] {
    SequenceInput input;
    input.state = &grown;
    input.input_ids = ids;
    static_cast<void>(model.forward(std::span<const SequenceInput>(&input, 1)));
  };
  grow();  // takes its scratch memory
  EXPECT_GT(model.model().info().gpu_memory_peak_bytes, 0U);
  std::vector<SequenceState> others;
  static_cast<void>(out_of_memory([&] {
    for (int i = 0; i < 1'000'000; ++i) others.push_back(model.new_state());
  }));
  const std::string text = out_of_memory([&] {
    for (int i = 0; i < 1'000'000; ++i) grow();
  });
  EXPECT_NE(text.find("a sequence of " + std::to_string(grown.length()) + " tokens was to grow by 64"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("more tokens"), std::string::npos) << text;
  EXPECT_GT(model.model().info().gpu_memory_peak_bytes, size_t{60} << 20);
  // With room again, the same sequence goes on.
  others.clear();
  const int64_t length = grown.length();
  grow();
  EXPECT_EQ(grown.length(), length + 64);
}

}  // namespace
}  // namespace bamba
