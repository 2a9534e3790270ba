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

void Chooser::prepare(const Sequence& sequence, std::span<float> row) {
  row_ = row;
  chosen_ = -1;
  step_ = step_of(sequence);
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

void Chooser::set_chosen(const Sequence& sequence, int64_t token) {
  step_ = step_of(sequence);
  if (token < 0) fail_not_finite(-1 - token, sequence.result.prompt_index, sequence.sequence_index, step_);
  chosen_ = token;
}

int64_t Chooser::choose(const Sequence& sequence) {
  if (chosen_ >= 0) return chosen_;
  if (!config_.do_sample) return greedy_token(row_);
  const double uniform = uniform_draw(config_.seed, sequence.result.prompt_index, sequence.sequence_index, step_);
  return candidates_[sampler_.draw(uniform)].id;
}

void append_token(Chooser& chooser, const StopRules& rules, Sequence& sequence) {
  const int64_t token = chooser.choose(sequence);
  sequence.ids.push_back(token);
  sequence.result.ids.push_back(token);
  if (chooser.config().output_logprobs) sequence.result.logprobs.push_back(chooser.logprob(token));

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
