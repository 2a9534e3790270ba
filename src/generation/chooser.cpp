#include "generation/chooser.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/str.h"
#include "generation/random.h"
#include "model/loss.h"

namespace bamba {
namespace {

[[noreturn]] void fail_not_finite(int64_t token, int64_t prompt, int64_t sequence, int64_t step) {
  fail(ErrorCode::non_finite, "the model's logits are not finite (NaN or infinite for token ", token, ") at step ",
       step, " of prompt ", prompt, ", sequence ", sequence,
       "; the weights or inputs are broken (remove_invalid_values goes on regardless)");
}

int64_t step_of(const Sequence& sequence) {
  return static_cast<int64_t>(sequence.ids.size() - sequence.prompt_length);
}

}  // namespace

void check_logits(std::span<const float> logits, int64_t prompt, int64_t sequence, int64_t step) {
  if (all_finite(logits)) return;
  const auto bad = std::ranges::find_if(logits, [](float logit) { return !std::isfinite(logit); });
  fail_not_finite(bad - logits.begin(), prompt, sequence, step);
}

Sequence new_sequence(TextStream text, int64_t prompt_index, int64_t sequence_index, std::vector<int64_t> prompt_ids,
                      int64_t max_length) {
  Sequence sequence(std::move(text));
  sequence.sequence_index = sequence_index;
  sequence.prompt_length = prompt_ids.size();
  sequence.max_length = max_length;
  sequence.ids = std::move(prompt_ids);
  sequence.result.prompt_index = prompt_index;
  return sequence;
}

void Chooser::prepare(const Sequence& sequence, std::span<float> row, ChoiceMemory& memory) const {
  if (!config_.remove_invalid_values) {
    check_logits(row, sequence.result.prompt_index, sequence.sequence_index, step_of(sequence));
  }
  processors_.apply_built_in(sequence.ids, sequence.prompt_length, sequence.max_length, row, memory.counts);
}

void Chooser::call_callers(const Sequence& sequence, std::span<float> row) {
  processors_.apply_callers(sequence.ids, sequence.prompt_length, row);
}

void Chooser::choose(std::span<const Sequence> sequences, std::span<float> row, ChoiceMemory& memory,
                     std::span<Choice> choices) const {
  processors_.check_any_left(sequences[0].ids, row);
  std::span<const float> scores = row;
  double log_sum = 0;
  if (config_.output_logprobs) {
    log_sum = log_sum_exp(row);
    if (config_.do_sample) {
      memory.processed.assign(row.begin(), row.end());  // the warpers change the row
      scores = memory.processed;
    }
  }
  std::span<const Candidate> candidates;
  int64_t best = -1;
  if (config_.do_sample) {
    memory.warpers.set(warper_settings_);
    candidates = memory.warpers.apply(row);
    memory.sampler.set(candidates);
  } else {
    best = greedy_token(row);
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& sequence = sequences[i];
    choices[i].token = best;
    if (config_.do_sample) {
      const double uniform =
          uniform_draw(config_.seed, sequence.result.prompt_index, sequence.sequence_index, step_of(sequence));
      choices[i].token = candidates[memory.sampler.draw(uniform)].id;
    }
    if (config_.output_logprobs) {
      choices[i].logprob = token_logprob(scores, log_sum, choices[i].token, config_.top_logprobs, memory.selector);
    }
  }
}

TokenDraw Chooser::draw_for(const Sequence& sequence) const {
  TokenDraw draw;
  if (!config_.do_sample) {
    draw.temperature = 0;
    return draw;
  }
  draw.uniform = uniform_draw(config_.seed, sequence.result.prompt_index, sequence.sequence_index, step_of(sequence));
  draw.temperature = config_.temperature;
  draw.top_k = config_.top_k;
  draw.top_p = config_.top_p;
  draw.min_p = config_.min_p;
  return draw;
}

Choice Chooser::choice_of_model(const Sequence& sequence, int64_t token) const {
  Choice choice;
  choice.token = token;
  if (token < 0) {
    try {
      fail_not_finite(-1 - token, sequence.result.prompt_index, sequence.sequence_index, step_of(sequence));
    } catch (...) {
      choice.error = std::current_exception();
    }
  }
  return choice;
}

void append_token(Choice& choice, const StopRules& rules, Sequence& sequence) {
  if (choice.error) std::rethrow_exception(choice.error);
  const int64_t token = choice.token;
  sequence.ids.push_back(token);
  sequence.result.ids.push_back(token);
  if (choice.logprob) sequence.result.logprobs.push_back(std::move(*choice.logprob));

  const bool stopped = sequence.text.push(token);
  if (rules.is_eos(token)) {
    sequence.finished = FinishReason::eos;
  } else if (stopped) {
    sequence.finished = FinishReason::stop;
  } else if (static_cast<int64_t>(sequence.ids.size()) >= sequence.max_length) {
    sequence.finished = FinishReason::length;
  }
  if (sequence.finished && !stopped) sequence.text.finish();
}

StreamEvent stream_event(const Sequence& sequence) {
  return {.prompt_index = sequence.result.prompt_index,
          .sequence_index = sequence.sequence_index,
          .id = sequence.ids.back(),
          .text = sequence.text.last_piece(),
          .logprob = sequence.result.logprobs.empty() ? nullptr : &sequence.result.logprobs.back()};
}

GeneratedSequence take_result(Sequence& sequence) {
  if (!sequence.finished) sequence.text.finish();  // cancelled: the text held back is part of the result
  sequence.result.finish_reason = sequence.finished.value_or(FinishReason::cancelled);
  sequence.result.text = sequence.text.take_text();
  return std::move(sequence.result);
}

}  // namespace bamba
