// Greedy search and sampling, for a ragged batch whose sequences leave it as they end.
#include <algorithm>

#include "generation/chooser.h"
#include "generation/run.h"

namespace bamba {
namespace {

/// Sequences that continue from the same row of logits: all of a prompt's at first, then one each.
struct Group {
  std::span<Sequence> sequences;
  std::unique_ptr<StepState> state;  // the prompt's, until its sequences have their own
};

void append(Run& run, Chooser& chooser, Sequence& sequence) {
  append_token(chooser, run.rules(), sequence);
  run.count_token();
  run.emit(stream_event(sequence));
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
      sequences.push_back(new_sequence(run.new_text(), prompt.index, i, prompt.ids, prompt.max_length));
    }
  }
  return sequences;
}

void run_loop(Run& run, std::vector<PromptRun>& prompts, std::vector<Sequence>& sequences) {
  std::span<float> logits = run.read_prompts(prompts);
  if (logits.empty()) return;
  const size_t vocab = run.vocab_size();
  const auto each = static_cast<size_t>(run.config().num_return_sequences);
  Chooser chooser(run.config(), run.options().processors, run.options().constraint);

  // The first token: from the prompts' own rows.
  for (size_t i = 0; i < prompts.size(); ++i) {
    Group group{std::span(sequences).subspan(i * each, each), std::move(prompts[i].state)};
    chooser.prepare(group.sequences[0], logits.subspan(i * vocab, vocab));
    for (Sequence& sequence : group.sequences) {
      append(run, chooser, sequence);
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
      append(run, chooser, *active[i]);
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
    out.push_back(take_result(sequence));
  }
}

}  // namespace bamba
