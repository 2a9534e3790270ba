// Several threads on one model. Run under ThreadSanitizer (preset tsan), these also show that nothing is shared
// without a lock: forks share pages with the state they came from, and each thread drops and extends its own.
#include <bamba/model.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "model/random_model.h"

namespace bamba {
namespace {

using test::Rng;

std::vector<float> logits_of(const RaggedOutput& output) {
  const auto data = output.logits.data<float>();
  return {data.begin(), data.end()};
}

/// Reads `ids` in pieces on `state`; the logits after the last token.
std::vector<float> read(const BambaForCausalLM& model, SequenceState& state, std::span<const int64_t> ids) {
  RaggedOutput output;
  for (size_t at = 0; at < ids.size(); at += 7) {
    SequenceInput input;
    input.state = &state;
    input.input_ids = ids.subspan(at, std::min<size_t>(7, ids.size() - at));
    model.forward({&input, 1}, {}, output);
  }
  return logits_of(output);
}

TEST(Concurrency, ThreadsOnOneModelAndForksOfOneStateGetWhatTheyGetAlone) {
  constexpr size_t kThreads = 4;
  constexpr int kRounds = 6;
  Rng rng(11);
  BambaConfig config = test::random_config(rng);
  config.intermediate_size = 2000;  // large enough for the pool's threads to take part
  config.attn_layer_indices = {0};  // both kinds of layer, so both kinds of shared memory
  RunOptions options;
  options.threads = 2;
  const BambaForCausalLM model = test::random_model(config, 3, options);
  const std::vector<int64_t> prompt = rng.ids(45, config.vocab_size);
  SequenceState start = model.new_state();
  read(model, start, prompt);

  std::vector<std::vector<int64_t>> tails;
  std::vector<std::vector<float>> alone;
  std::vector<SequenceState> forks;
  for (size_t i = 0; i < kThreads; ++i) {
    tails.push_back(rng.ids(20, config.vocab_size));
    SequenceState state = start.fork();
    alone.push_back(read(model, state, tails.back()));
    forks.push_back(start.fork());
  }
  std::vector<int> wrong(kThreads, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) {
        SequenceState state = forks[i].fork();
        if (read(model, state, tails[i]) != alone[i]) ++wrong[i];
        // The padded forward shares the model's workspace as well.
        ForwardInputs inputs;
        inputs.input_ids = Tensor::from(tails[i], {2, 10});
        inputs.use_cache = false;
        static_cast<void>(model.forward(inputs));
      }
      forks[i] = SequenceState();  // while others still read the pages it shared
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(kThreads, 0));
  SequenceState again = start.fork();
  EXPECT_EQ(read(model, again, tails[0]), alone[0]) << "the state they forked from is untouched";
}

}  // namespace
}  // namespace bamba
