// Greedy search and sampling, for a ragged batch whose sequences leave it as they end.
#include <algorithm>
#include <optional>

#include "generation/processors.h"
#include "generation/random.h"
#include "generation/run.h"
#include "generation/sampler.h"
#include "generation/warpers.h"
#include "model/loss.h"

namespace bamba {
namespace {

struct Sequence {
  explicit Sequence(TextStream stream) : text(std::move(stream)) {}

  int64_t sequence_index = 0;
  size_t prompt_length = 0;
  int64_t max_length = 0;
  std::vector<int64_t> ids;  // the prompt included
  std::unique_ptr<StepState> state;
  TextStream text;
  std::optional<FinishReason> finished;
  GeneratedSequence result;
};

/// Chooses tokens from rows of logits. Its buffers live as long as the loop.
class Chooser {
 public:
  explicit Chooser(const Run& run)
      : config_(run.config()),
        processors_(run.config(), run.options().processors, run.options().constraint),
        warpers_(WarperSettings::from(run.config())) {}

  /// Makes the row of logits after this sequence's tokens ready for choose().
  void prepare(const Sequence& sequence, std::span<float> row) {
    row_ = row;
    step_ = static_cast<int64_t>(sequence.ids.size() - sequence.prompt_length);
    if (!config_.remove_invalid_values) check_logits(row, sequence.result.prompt_index, sequence.sequence_index, step_);
    processors_.apply(sequence.ids, sequence.prompt_length, sequence.max_length, row);
    if (config_.output_logprobs) log_sum_ = log_sum_exp(row);
    if (!config_.do_sample) return;
    if (config_.output_logprobs) {
      processed_.assign(row.begin(), row.end());  // the warpers change the row
      row_ = processed_;
    }
    candidates_ = warpers_.apply(row);
    sampler_.set(candidates_);
  }

  /// Whether the likeliest token of the model is always the one, and nothing else is asked about it.
  bool takes_the_best() const { return !config_.do_sample && !config_.output_logprobs && processors_.is_empty(); }
  /// In place of prepare(): choose() gives this token.
  void set_best(const Sequence& sequence, int64_t token) {
    step_ = static_cast<int64_t>(sequence.ids.size() - sequence.prompt_length);
    if (token < 0) fail_not_finite(-1 - token, sequence.result.prompt_index, sequence.sequence_index, step_);
    best_ = token;
  }

  int64_t choose(const Sequence& sequence) {
    if (best_ >= 0) return best_;
    if (!config_.do_sample) return greedy_token(row_);
    const double uniform = uniform_draw(config_.seed, sequence.result.prompt_index, sequence.sequence_index, step_);
    return candidates_[sampler_.draw(uniform)].id;
  }

  TokenLogprob logprob(int64_t token) { return token_logprob(row_, log_sum_, token, config_.top_logprobs, selector_); }

 private:
  const GenerationConfig& config_;
  ProcessorChain processors_;
  Warpers warpers_;
  Sampler sampler_;
  TopSelector selector_;
  std::span<const float> row_;
  int64_t step_ = 0;
  int64_t best_ = -1;
  double log_sum_ = 0;
  std::vector<float> processed_;
  std::span<const Candidate> candidates_;
};

/// Sequences that continue from the same row of logits: all of a prompt's at first, then one each.
struct Group {
  std::span<Sequence> sequences;
  std::unique_ptr<StepState> state;  // the prompt's, until its sequences have their own
};

void append_token(Run& run, Chooser& chooser, Sequence& sequence) {
  const int64_t token = chooser.choose(sequence);
  sequence.ids.push_back(token);
  sequence.result.ids.push_back(token);
  run.count_token();
  if (run.config().output_logprobs) sequence.result.logprobs.push_back(chooser.logprob(token));

  const bool stopped = sequence.text.push(token);
  if (run.rules().is_eos(token)) {
    sequence.finished = FinishReason::eos;
  } else if (stopped) {
    sequence.finished = FinishReason::stop;
  } else if (static_cast<int64_t>(sequence.ids.size()) >= sequence.max_length) {
    sequence.finished = FinishReason::length;
  }
  if (sequence.finished && !stopped) sequence.text.finish();
  run.emit({.prompt_index = sequence.result.prompt_index,
            .sequence_index = sequence.sequence_index,
            .id = token,
            .text = sequence.text.last_piece(),
            .logprob = sequence.result.logprobs.empty() ? nullptr : &sequence.result.logprobs.back()});
}

/// The group's sequences that go on get a state each; the last takes the group's without a copy.
void share_state(Group& group) {
  Sequence* last = nullptr;
  for (Sequence& sequence : group.sequences) {
    if (sequence.finished) continue;
    if (last != nullptr) last->state = group.state->fork();
    last = &sequence;
  }
  if (last != nullptr) last->state = std::move(group.state);
}

std::vector<Sequence> make_sequences(const Run& run, std::span<const PromptRun> prompts) {
  std::vector<Sequence> sequences;
  sequences.reserve(prompts.size() * static_cast<size_t>(run.config().num_return_sequences));
  for (const PromptRun& prompt : prompts) {
    for (int64_t i = 0; i < run.config().num_return_sequences; ++i) {
      Sequence& sequence = sequences.emplace_back(run.new_text());
      sequence.sequence_index = i;
      sequence.prompt_length = prompt.ids.size();
      sequence.max_length = prompt.max_length;
      sequence.ids = prompt.ids;
      sequence.result.prompt_index = prompt.index;
    }
  }
  return sequences;
}

void run_loop(Run& run, std::vector<PromptRun>& prompts, std::vector<Sequence>& sequences) {
  std::span<float> logits = run.read_prompts(prompts);
  if (logits.empty()) return;
  const size_t vocab = run.vocab_size();
  const auto each = static_cast<size_t>(run.config().num_return_sequences);
  Chooser chooser(run);

  // The first token: from the prompts' own rows.
  for (size_t i = 0; i < prompts.size(); ++i) {
    Group group{std::span(sequences).subspan(i * each, each), std::move(prompts[i].state)};
    chooser.prepare(group.sequences[0], logits.subspan(i * vocab, vocab));
    for (Sequence& sequence : group.sequences) {
      append_token(run, chooser, sequence);
      if (run.cancelled()) return;
    }
    share_state(group);
  }

  std::vector<Sequence*> active;
  active.reserve(sequences.size());
  for (Sequence& sequence : sequences) active.push_back(&sequence);
  std::vector<StepInput> inputs;
  while (true) {
    std::erase_if(active, [](const Sequence* sequence) { return sequence->finished.has_value(); });
    if (active.empty() || run.cancelled()) return;
    inputs.clear();
    for (const Sequence* sequence : active) {
      inputs.push_back({sequence->state.get(), std::span(sequence->ids).last(1)});
    }
    std::span<const int64_t> best;
    if (chooser.takes_the_best()) {
      best = run.forward_best(inputs);
    } else {
      logits = run.forward(inputs);
    }
    for (size_t i = 0; i < active.size(); ++i) {
      if (best.empty()) {
        chooser.prepare(*active[i], logits.subspan(i * vocab, vocab));
      } else {
        chooser.set_best(*active[i], best[i]);
      }
      append_token(run, chooser, *active[i]);
      if (active[i]->finished) active[i]->state.reset();
      if (run.cancelled()) return;
    }
  }
}

}  // namespace

void decode(Run& run, std::vector<PromptRun>& prompts, std::vector<GeneratedSequence>& out) {
  std::vector<Sequence> sequences = make_sequences(run, prompts);
  run_loop(run, prompts, sequences);
  for (Sequence& sequence : sequences) {
    if (!sequence.finished) sequence.text.finish();  // cancelled: the text held back is part of the result
    sequence.result.finish_reason = sequence.finished.value_or(FinishReason::cancelled);
    sequence.result.text = sequence.text.take_text();
    out.push_back(std::move(sequence.result));
  }
}

}  // namespace bamba
