// Greedy search and sampling, for a ragged batch whose sequences leave it as they end.
#include <algorithm>

#include "generation/row_chooser.h"
#include "generation/run.h"

namespace bamba {
namespace {

/// Sequences that continue from the same row of logits: all of a prompt's at first, then one each.
struct Group {
  std::span<Sequence> sequences;
  std::unique_ptr<StepState> state;  // the prompt's, until its sequences have their own
};

void append(Run& run, Choice& choice, Sequence& sequence) {
  append_token(choice, run.rules(), sequence);
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
  RowChooser rows;
  for (size_t i = 0; i < prompts.size(); ++i) {
    rows.add(chooser, std::span(sequences).subspan(i * each, each), logits.subspan(i * vocab, vocab));
  }
  rows.choose(run.model());
  for (size_t i = 0; i < prompts.size(); ++i) {
    Group group{std::span(sequences).subspan(i * each, each), std::move(prompts[i].state)};
    for (size_t j = 0; j < each; ++j) {
      append(run, rows.choice(i * each + j), group.sequences[j]);
      if (run.cancelled()) return;
    }
    share_state(group);
  }

  std::vector<Sequence*> active;
  active.reserve(sequences.size());
  for (Sequence& sequence : sequences) active.push_back(&sequence);
  std::vector<StepInput> inputs;
  std::vector<TokenDraw> draws;
  const bool drawn = chooser.only_draws() && run.draws_tokens();
  while (true) {
    std::erase_if(active, [](const Sequence* sequence) { return sequence->finished.has_value(); });
    if (active.empty() || run.cancelled()) return;
    inputs.clear();
    for (const Sequence* sequence : active) {
      inputs.push_back({sequence->state.get(), std::span(sequence->ids).last(1)});
    }
    std::span<const int64_t> chosen;  // where the model chooses itself, and no logits come here
    if (chooser.takes_the_best()) {
      chosen = run.forward_best(inputs);
    } else if (drawn) {
      draws.clear();
      for (const Sequence* sequence : active) draws.push_back(chooser.draw_for(*sequence));
      chosen = run.forward_drawn(inputs, draws);
    } else {
      logits = run.forward(inputs);
    }
    rows.start();
    for (size_t i = 0; i < active.size(); ++i) {
      if (chosen.empty()) {
        rows.add(chooser, std::span(active[i], 1), logits.subspan(i * vocab, vocab));
      } else {
        rows.add(chooser.choice_of_model(*active[i], chosen[i]));
      }
    }
    rows.choose(run.model());
    for (size_t i = 0; i < active.size(); ++i) {
      append(run, rows.choice(i), *active[i]);
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
