#include "cli/bench_run.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/stopwatch.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace bamba::cli {

void BenchPhase::add(double run_seconds, const std::vector<OperationProfile>& run_operations) {
  seconds.push_back(run_seconds);
  for (const OperationProfile& operation : run_operations) {
    const auto same_name = [&](const OperationProfile& other) { return other.name == operation.name; };
    const auto found = std::find_if(operations.begin(), operations.end(), same_name);
    if (found == operations.end()) {
      operations.push_back(operation);
      continue;
    }
    found->calls += operation.calls;
    found->seconds += operation.seconds;
    found->bytes += operation.bytes;
    found->flops += operation.flops;
  }
}

BenchRun::BenchRun(const BambaForCausalLM& model, const BenchWork& work, std::shared_ptr<Profile> profile)
    : model_(model), work_(work), profile_(std::move(profile)) {
  const auto batch = static_cast<size_t>(work.batch);
  inputs_.resize(batch);
  next_.resize(batch);
  for (size_t i = 0; i < batch; ++i) prompts_.push_back(random_ids(work.prompt));
  if (work.context > 0) read_context();
}

std::vector<int64_t> BenchRun::random_ids(int64_t count) {
  std::mt19937_64 random(++drawn_);
  std::uniform_int_distribution<int64_t> any_id(0, model_.config().vocab_size - 1);
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (int64_t& id : ids) id = any_id(random);
  return ids;
}

void BenchRun::read_context() {
  constexpr int64_t kPiece = 512;  // so that Ctrl-C need not wait for all
  ProgressBar bar(ProgressBar::Unit::count);
  for (int64_t i = 0; i < work_.batch; ++i) {
    const std::vector<int64_t> ids = random_ids(work_.context);
    SequenceState state = model_.new_state();
    for (int64_t done = 0; done < work_.context - 1;) {
      bar.update("reading the context", static_cast<uint64_t>(i * work_.context + done),
                 static_cast<uint64_t>(work_.batch * work_.context));
      throw_if_interrupted();
      const int64_t count = std::min(kPiece, work_.context - 1 - done);
      SequenceInput input;
      input.state = &state;
      input.input_ids = std::span(ids).subspan(static_cast<size_t>(done), static_cast<size_t>(count));
      input.logits = LogitsToKeep::none;
      model_.forward({&input, 1}, {}, output_);
      done += count;
    }
    contexts_.push_back(std::move(state));
    last_ids_.push_back(ids.back());
  }
}

std::vector<SequenceState> BenchRun::fresh_states() const {
  std::vector<SequenceState> states;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    states.push_back(contexts_.empty() ? model_.new_state() : contexts_[i].fork());
  }
  return states;
}

void BenchRun::step() {
  RaggedOptions greedy;
  greedy.best_ids_only = true;
  model_.forward(inputs_, greedy, output_);
  // Whatever random weights make of it: a step takes as long with any token.
  for (size_t i = 0; i < next_.size(); ++i) next_[i] = std::max<int64_t>(output_.best_ids[i], 0);
}

std::vector<OperationProfile> BenchRun::take_profile() const {
  if (profile_ == nullptr) return {};
  std::vector<OperationProfile> operations = profile_->operations();
  profile_->reset();
  return operations;
}

void BenchRun::measure() {
  std::vector<SequenceState> states = fresh_states();
  for (size_t i = 0; i < states.size(); ++i) inputs_[i].state = &states[i];
  if (!contexts_.empty()) {
    // The context's last token is read here: forks take memory of their own then, and not while the prompt is timed.
    for (size_t i = 0; i < states.size(); ++i) inputs_[i].input_ids = {&last_ids_[i], 1};
    step();
  }
  for (size_t i = 0; i < states.size(); ++i) inputs_[i].input_ids = prompts_[i];
  static_cast<void>(take_profile());
  const Stopwatch reading;
  step();
  prompt_.add(reading.seconds(), take_profile());

  for (size_t i = 0; i < states.size(); ++i) inputs_[i].input_ids = {&next_[i], 1};
  const Stopwatch decoding;
  for (int64_t t = 0; t < work_.gen; ++t) {
    throw_if_interrupted();
    step();
  }
  decode_.add(decoding.seconds(), take_profile());
  state_bytes_ = states[0].bytes();
}

void BenchRun::clear() {
  prompt_ = {};
  decode_ = {};
}

}  // namespace bamba::cli
