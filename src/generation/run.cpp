#include "generation/run.h"

#include <algorithm>

#include "base/str.h"
#include "generation/prompt_rules.h"

namespace bamba {
namespace {

/// With somebody waiting for progress or likely to cancel, prompts are read in pieces of this many tokens: the result
/// is the same for any size.
constexpr int64_t kWatchedChunk = 512;

std::unique_ptr<StepState> start_state(StepModel& model, std::vector<std::unique_ptr<StepState>>& states, size_t prompt,
                                       int64_t prompt_length, bool keep_original) {
  if (states.empty()) return model.new_state();
  const int64_t held = states[prompt]->length();
  if (held >= prompt_length) {
    fail(ErrorCode::invalid_argument, "state ", prompt, " holds ", held, " tokens and prompt ", prompt, " has ",
         prompt_length, "; at least one token of the prompt must be left to run");
  }
  return keep_original ? states[prompt]->fork() : std::move(states[prompt]);
}

}  // namespace

bool Run::cancelled() const {
  return stream_cancelled_ || (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed));
}

void Run::emit(const StreamEvent& event) {
  if (options_.stream && !stream_cancelled_ && !options_.stream(event)) stream_cancelled_ = true;
}

std::span<float> Run::read_prompts(std::span<PromptRun> prompts) {
  const bool watched = options_.cancel != nullptr || options_.prompt_progress;
  int64_t chunk = config_.prefill_chunk_size;
  if (chunk == 0 && watched) chunk = kWatchedChunk;

  // A prompt of fewer pieces starts later, so that all end in the last call: their logits are then in one place.
  int64_t rounds = 1;
  int64_t total = 0;
  std::vector<std::span<const int64_t>> left(prompts.size());
  const auto pieces = [&](size_t tokens) { return chunk == 0 ? 1 : (static_cast<int64_t>(tokens) - 1) / chunk + 1; };
  for (size_t i = 0; i < prompts.size(); ++i) {
    left[i] = std::span(prompts[i].ids).subspan(static_cast<size_t>(prompts[i].state->length()));
    total += static_cast<int64_t>(left[i].size());
    rounds = std::max(rounds, pieces(left[i].size()));
  }

  std::span<float> logits;
  std::vector<StepInput> inputs;
  int64_t done = 0;
  for (int64_t round = rounds; round > 0; --round) {
    if (cancelled()) return {};
    inputs.clear();
    for (size_t i = 0; i < prompts.size(); ++i) {
      if (pieces(left[i].size()) < round) continue;
      const size_t size = chunk == 0 ? left[i].size() : std::min(left[i].size(), static_cast<size_t>(chunk));
      inputs.push_back({prompts[i].state.get(), left[i].first(size), round == 1});
      left[i] = left[i].subspan(size);
      done += static_cast<int64_t>(size);
    }
    logits = forward(inputs);
    if (options_.prompt_progress) options_.prompt_progress(done, total);
  }
  timing_.prompt_tokens = total;
  timing_.prompt_seconds = watch_.seconds();
  since_prompts_ = Stopwatch();
  return logits;
}

void Run::count_token() {
  if (timing_.new_tokens++ == 0) timing_.time_to_first_token = watch_.seconds();
}

GenerateTiming Run::finish_timing() {
  timing_.decode_seconds = timing_.new_tokens > 0 ? since_prompts_.seconds() : 0;
  return timing_;
}

GenerateResult generate_with(StepModel& model, const BambaConfig& model_config,
                             std::span<const std::vector<int64_t>> prompts, const GenerationConfig& config,
                             const GenerateOptions& options, const TextTools& tools,
                             std::vector<std::unique_ptr<StepState>> states) {
  config.validate(model_config);
  for (size_t i = 0; i < options.processors.size(); ++i) {
    if (!options.processors[i]) {
      fail(ErrorCode::invalid_argument, "logits processor ", i, " of GenerateOptions.processors is empty");
    }
  }
  if (!states.empty() && states.size() != prompts.size()) {
    fail(ErrorCode::invalid_argument, "GenerateOptions.states has ", states.size(), " states for ", prompts.size(),
         " prompts; give one for each, or none");
  }
  const StopRules rules = stop_rules(config, tools);
  const bool shared = config.num_beams > 1 || config.num_return_sequences > 1;
  std::vector<PromptRun> runs(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    PromptRun& run = runs[i];
    run.index = static_cast<int64_t>(i);
    run.ids = checked_ids(prompts[i], i, config, model.vocab_size());
    const auto length = static_cast<int64_t>(run.ids.size());
    run.max_length = max_length_for(config, i, length);
    run.state = start_state(model, states, i, length, shared);
  }

  GenerateResult result;
  if (runs.empty()) return result;
  Run run(model, config, options, tools, rules);
  if (config.num_beams > 1) {
    beam_search(run, runs, result.sequences);
  } else {
    decode(run, runs, result.sequences);
  }
  result.timing = run.finish_timing();
  return result;
}

}  // namespace bamba
