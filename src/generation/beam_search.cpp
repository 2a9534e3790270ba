// Beam search as Transformers 5 runs it, each prompt on its own: scores in f32, the same candidates, the same order of
// additions, so that ties and early stopping fall the same way.
#include <algorithm>
#include <cmath>
#include <limits>

#include "generation/chooser.h"
#include "generation/processors.h"
#include "generation/random.h"
#include "generation/run.h"
#include "generation/sampler.h"
#include "generation/warpers.h"
#include "model/loss.h"

namespace bamba {
namespace {

/// What Transformers adds to the score of a beam that must not win.
constexpr float kOut = -1.0e9F;

/// A beam that goes on.
struct Beam {
  std::vector<int64_t> ids;  // the prompt included
  float score = kOut;        // sum of its tokens' scores
  std::vector<TokenLogprob> logprobs;
  std::unique_ptr<StepState> state;
};

/// A place among the results: a finished sequence, or a filler that any finished one pushes out.
struct Hypothesis {
  std::vector<int64_t> ids;
  float score = kOut;
  bool finished = false;
  FinishReason reason = FinishReason::length;
  std::vector<TokenLogprob> logprobs;
};

/// One of the candidates of a step: a beam and its next token.
struct Continuation {
  size_t beam = 0;
  int64_t token = 0;
  float score = 0;
  bool ends = false;
  FinishReason reason = FinishReason::length;
};

/// Positions of the `count` highest scores, best first; the earlier one among equals.
std::vector<size_t> top_positions(const std::vector<float>& scores, size_t count) {
  std::vector<size_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  order.resize(std::min(order.size(), count));
  return order;
}

/// Working memory that all prompts of a run share.
struct BeamWorkspace {
  explicit BeamWorkspace(const Run& run)
      : processors(run.config(), run.options().processors, run.options().constraint),
        warpers(WarperSettings::from(run.config())) {}

  ProcessorChain processors;
  Warpers warpers;
  Sampler sampler;
  TopSelector selector;
  std::vector<Candidate> candidates;
  std::vector<float> processed;  // copies of the rows, when warpers change them and log-probabilities are asked for
  std::vector<double> log_sums;
  std::vector<StepInput> inputs;
};

class BeamPrompt {
 public:
  BeamPrompt(Run& run, PromptRun& prompt);

  bool done() const { return done_; }
  size_t rows() const { return beams_.size(); }
  void add_inputs(std::vector<StepInput>& inputs) const;
  /// `logits`: one row a beam, or a single one for all of them (the prompt's).
  void step(std::span<float> logits, BeamWorkspace& work);
  /// The num_return_sequences best.
  void finish(std::vector<GeneratedSequence>& out);

 private:
  std::span<float> row(std::span<float> logits, size_t beam) const {
    const size_t vocab = run_.vocab_size();
    return logits.subspan(logits.size() == vocab ? 0 : beam * vocab, vocab);
  }
  int64_t generated() const { return static_cast<int64_t>(beams_[0].ids.size() - prompt_length_); }
  float with_length_penalty(float score, int64_t length) const;

  void prepare_rows(std::span<float> logits, BeamWorkspace& work);
  std::vector<Continuation> best_continuations(std::span<float> logits, BeamWorkspace& work) const;
  std::vector<Continuation> sampled_continuations(std::span<float> logits, BeamWorkspace& work) const;
  void judge(Continuation& continuation) const;
  bool completes_stop_string(const Continuation& continuation) const;
  TokenLogprob logprob_of(const Continuation& continuation, std::span<float> logits, BeamWorkspace& work) const;
  void update_finished(const std::vector<Continuation>& continuations, std::span<float> logits, BeamWorkspace& work);
  void update_running(const std::vector<Continuation>& continuations, std::span<float> logits, BeamWorkspace& work);
  bool may_improve() const;

  Run& run_;
  int64_t prompt_index_;
  size_t prompt_length_;
  int64_t max_length_;
  size_t num_beams_;
  size_t num_candidates_;
  std::vector<Beam> beams_;
  std::unique_ptr<StepState> prompt_state_;  // until the first step gives every beam its own
  std::vector<Hypothesis> results_;
  bool may_improve_ = true;  // once false, stays false
  bool done_ = false;
};

BeamPrompt::BeamPrompt(Run& run, PromptRun& prompt)
    : run_(run),
      prompt_index_(prompt.index),
      prompt_length_(prompt.ids.size()),
      max_length_(prompt.max_length),
      num_beams_(static_cast<size_t>(run.config().num_beams)),
      prompt_state_(std::move(prompt.state)) {
  // Enough that num_beams can go on even if every beam's eos tokens are among the best.
  const size_t per_beam = std::max(size_t{2}, 1 + run.rules().eos.size());
  num_candidates_ = std::min(per_beam * num_beams_, num_beams_ * run.vocab_size());
  beams_.resize(num_beams_);
  for (Beam& beam : beams_) beam.ids = prompt.ids;
  beams_[0].score = 0;  // the others are the same beam: they must not win
  results_.resize(num_beams_);
}

float BeamPrompt::with_length_penalty(float score, int64_t length) const {
  const double divisor = std::pow(static_cast<double>(length), run_.config().length_penalty);
  const float penalized = score / static_cast<float>(divisor);
  return std::isnan(penalized) ? -std::numeric_limits<float>::infinity() : penalized;
}

void BeamPrompt::add_inputs(std::vector<StepInput>& inputs) const {
  for (const Beam& beam : beams_) inputs.push_back({beam.state.get(), std::span(beam.ids).last(1)});
}

void BeamPrompt::prepare_rows(std::span<float> logits, BeamWorkspace& work) {
  const GenerationConfig& config = run_.config();
  const size_t vocab = run_.vocab_size();
  work.log_sums.assign(beams_.size(), 0.0);
  for (size_t i = 0; i * vocab < logits.size(); ++i) {
    const auto scores = row(logits, i);
    if (config.remove_invalid_values) {
      remove_invalid_values(scores);  // before the softmax, which would spread one NaN over the row
    } else {
      check_logits(scores, prompt_index_, static_cast<int64_t>(i), generated());
    }
    const double log_sum = log_sum_exp(scores);
    for (float& score : scores) score = static_cast<float>(double{score} - log_sum);
    work.processors.apply(beams_[i].ids, prompt_length_, max_length_, scores);
    if (config.output_logprobs) work.log_sums[i] = log_sum_exp(scores);
  }
  if (config.output_logprobs && config.do_sample) work.processed.assign(logits.begin(), logits.end());
}

std::vector<Continuation> BeamPrompt::best_continuations(std::span<float> logits, BeamWorkspace& work) const {
  const auto vocab = static_cast<int64_t>(run_.vocab_size());
  work.selector.start(num_candidates_);
  for (size_t i = 0; i < beams_.size(); ++i) {
    work.selector.offer(row(logits, i), beams_[i].score, static_cast<int64_t>(i) * vocab);
  }
  std::vector<Continuation> out;
  for (const Candidate& best : work.selector.take()) {
    out.push_back({.beam = static_cast<size_t>(best.id / vocab), .token = best.id % vocab, .score = best.score});
  }
  return out;
}

std::vector<Continuation> BeamPrompt::sampled_continuations(std::span<float> logits, BeamWorkspace& work) const {
  const auto vocab = static_cast<int64_t>(run_.vocab_size());
  const bool one_row = logits.size() == run_.vocab_size();
  auto& candidates = work.candidates;
  candidates.clear();
  std::span<const Candidate> kept;
  for (size_t i = 0; i < beams_.size(); ++i) {
    if (i == 0 || !one_row) kept = work.warpers.apply(row(logits, i));
    for (const Candidate& candidate : kept) {
      candidates.push_back({static_cast<int64_t>(i) * vocab + candidate.id, candidate.score + beams_[i].score});
    }
  }
  // Draws without replacement, in the order drawn.
  work.sampler.set(candidates);
  std::vector<Continuation> out;
  const auto take = [&](Candidate& candidate) {
    out.push_back(
        {.beam = static_cast<size_t>(candidate.id / vocab), .token = candidate.id % vocab, .score = candidate.score});
    candidate.id = -1;
  };
  const size_t wanted = std::min(num_candidates_, candidates.size());
  while (out.size() < wanted && work.sampler.remaining() > 0) {
    const double uniform =
        uniform_draw(run_.config().seed, prompt_index_, 0, generated(), static_cast<int64_t>(out.size()));
    const size_t drawn = work.sampler.draw(uniform);
    work.sampler.remove(drawn);
    take(candidates[drawn]);
  }
  // Candidates too unlikely to have a weight fill up what is missing, the best of them first.
  while (out.size() < wanted) {
    Candidate* best = nullptr;
    for (Candidate& candidate : candidates) {
      if (candidate.id >= 0 && (best == nullptr || better(candidate, *best))) best = &candidate;
    }
    take(*best);
  }
  return out;
}

bool BeamPrompt::completes_stop_string(const Continuation& continuation) const {
  if (run_.rules().strings.empty() && run_.rules().special.empty()) return false;
  TextStream text = run_.new_text();
  const auto& ids = beams_[continuation.beam].ids;
  for (size_t i = prompt_length_; i < ids.size(); ++i) text.push(ids[i]);  // none of these completed one
  return text.push(continuation.token);
}

void BeamPrompt::judge(Continuation& continuation) const {
  continuation.ends = true;
  if (run_.rules().is_eos(continuation.token)) {
    continuation.reason = FinishReason::eos;
  } else if (completes_stop_string(continuation)) {
    continuation.reason = FinishReason::stop;
  } else if (static_cast<int64_t>(beams_[continuation.beam].ids.size()) + 1 >= max_length_) {
    continuation.reason = FinishReason::length;
  } else {
    continuation.ends = false;
  }
}

TokenLogprob BeamPrompt::logprob_of(const Continuation& continuation, std::span<float> logits,
                                    BeamWorkspace& work) const {
  const size_t from = logits.size() == run_.vocab_size() ? 0 : continuation.beam;
  const std::span<const float> scores =
      row(run_.config().do_sample ? std::span<float>(work.processed) : logits, continuation.beam);
  return token_logprob(scores, work.log_sums[from], continuation.token, run_.config().top_logprobs, work.selector);
}

void BeamPrompt::update_finished(const std::vector<Continuation>& continuations, std::span<float> logits,
                                 BeamWorkspace& work) {
  const bool full = std::ranges::all_of(results_, &Hypothesis::finished);
  const bool closed = full && run_.config().early_stopping == EarlyStopping::yes;
  std::vector<float> scores;
  scores.reserve(results_.size() + continuations.size());
  for (const Hypothesis& result : results_) scores.push_back(result.score);
  for (size_t i = 0; i < continuations.size(); ++i) {
    float score = with_length_penalty(continuations[i].score, generated() + 1);
    if (closed) score += kOut;
    if (!may_improve_) score += kOut;
    // An end that is not among the num_beams best candidates does not count.
    if (!continuations[i].ends || i >= num_beams_) score += kOut;
    scores.push_back(score);
  }
  std::vector<Hypothesis> next;
  for (const size_t position : top_positions(scores, num_beams_)) {
    if (position < results_.size()) {
      next.push_back(std::move(results_[position]));
      continue;
    }
    const Continuation& continuation = continuations[position - results_.size()];
    Hypothesis& hypothesis = next.emplace_back();
    hypothesis.score = scores[position];
    // A text of forbidden tokens is no answer, even where there are not beams enough.
    hypothesis.finished =
        continuation.ends && position - results_.size() < num_beams_ && std::isfinite(hypothesis.score);
    if (!hypothesis.finished) continue;  // a filler
    hypothesis.reason = continuation.reason;
    const Beam& beam = beams_[continuation.beam];
    hypothesis.ids.assign(beam.ids.begin() + static_cast<std::ptrdiff_t>(prompt_length_), beam.ids.end());
    hypothesis.ids.push_back(continuation.token);
    if (run_.config().output_logprobs) {
      hypothesis.logprobs = beam.logprobs;
      hypothesis.logprobs.push_back(logprob_of(continuation, logits, work));
    }
  }
  results_ = std::move(next);
}

void BeamPrompt::update_running(const std::vector<Continuation>& continuations, std::span<float> logits,
                                BeamWorkspace& work) {
  std::vector<float> scores;
  scores.reserve(continuations.size());
  for (const Continuation& continuation : continuations) {
    scores.push_back(continuation.score + (continuation.ends ? kOut : 0.0F));
  }
  const auto chosen = top_positions(scores, num_beams_);
  std::vector<size_t> uses(beams_.size(), 0);
  for (const size_t position : chosen) ++uses[continuations[position].beam];
  size_t prompt_uses = chosen.size();

  std::vector<Beam> next;
  for (const size_t position : chosen) {
    const Continuation& continuation = continuations[position];
    Beam& parent = beams_[continuation.beam];
    Beam& beam = next.emplace_back();
    beam.score = scores[position];
    // The last user of a beam takes what it has; the others copy.
    const bool last_use = --uses[continuation.beam] == 0;
    auto& state = prompt_state_ ? prompt_state_ : parent.state;
    beam.state = (prompt_state_ ? --prompt_uses == 0 : last_use) ? std::move(state) : state->fork();
    TokenLogprob logprob;
    if (run_.config().output_logprobs) logprob = logprob_of(continuation, logits, work);
    if (last_use) {
      beam.ids = std::move(parent.ids);
      beam.logprobs = std::move(parent.logprobs);
    } else {
      beam.ids = parent.ids;
      beam.logprobs = parent.logprobs;
    }
    beam.ids.push_back(continuation.token);
    if (run_.config().output_logprobs) beam.logprobs.push_back(std::move(logprob));
  }
  beams_ = std::move(next);
}

bool BeamPrompt::may_improve() const {
  const GenerationConfig& config = run_.config();
  const bool hopes_for_length = config.early_stopping == EarlyStopping::never && config.length_penalty > 0;
  const int64_t length = hopes_for_length ? max_length_ - static_cast<int64_t>(prompt_length_) : generated();
  const float best = with_length_penalty(beams_[0].score, length);
  float worst = results_[0].score;
  for (const Hypothesis& result : results_) worst = std::min(worst, result.score);
  return std::ranges::any_of(results_,
                             [&](const Hypothesis& result) { return best > (result.finished ? worst : kOut); });
}

void BeamPrompt::step(std::span<float> logits, BeamWorkspace& work) {
  prepare_rows(logits, work);
  auto continuations = run_.config().do_sample ? sampled_continuations(logits, work) : best_continuations(logits, work);
  for (Continuation& continuation : continuations) judge(continuation);
  update_finished(continuations, logits, work);
  update_running(continuations, logits, work);
  run_.count_token();

  may_improve_ = may_improve_ && may_improve();
  const bool full = std::ranges::all_of(results_, &Hypothesis::finished);
  const bool closed = full && run_.config().early_stopping == EarlyStopping::yes;
  done_ = !may_improve_ || closed || std::ranges::all_of(continuations, &Continuation::ends);
  if (done_) {
    for (Beam& beam : beams_) beam.state.reset();
  }
}

void BeamPrompt::finish(std::vector<GeneratedSequence>& out) {
  std::erase_if(results_, [](const Hypothesis& result) { return !result.finished; });
  if (!done_) {  // cancelled: what was being written stands behind what was finished
    for (Beam& beam : beams_) {
      const int64_t length = generated();
      if (length == 0 || beam.ids.empty()) break;
      Hypothesis& hypothesis = results_.emplace_back();
      hypothesis.ids.assign(beam.ids.begin() + static_cast<std::ptrdiff_t>(prompt_length_), beam.ids.end());
      hypothesis.score = with_length_penalty(beam.score, length);
      hypothesis.reason = FinishReason::cancelled;
      hypothesis.logprobs = std::move(beam.logprobs);
    }
    if (results_.empty()) {
      results_.resize(static_cast<size_t>(run_.config().num_return_sequences));
      for (Hypothesis& hypothesis : results_) hypothesis.reason = FinishReason::cancelled;
    }
  }
  const auto count = static_cast<size_t>(run_.config().num_return_sequences);
  for (size_t i = 0; i < std::min(count, results_.size()); ++i) {
    Hypothesis& hypothesis = results_[i];
    GeneratedSequence& sequence = out.emplace_back();
    sequence.prompt_index = prompt_index_;
    sequence.finish_reason = hypothesis.reason;
    if (!hypothesis.ids.empty()) sequence.score = hypothesis.score;
    sequence.logprobs = std::move(hypothesis.logprobs);
    TextStream text = run_.new_text();
    for (size_t j = 0; j < hypothesis.ids.size(); ++j) {
      const bool stopped = text.push(hypothesis.ids[j]);
      if (j + 1 == hypothesis.ids.size() && !stopped) text.finish();
      run_.emit({.prompt_index = prompt_index_,
                 .sequence_index = static_cast<int64_t>(i),
                 .id = hypothesis.ids[j],
                 .text = text.last_piece(),
                 .logprob = sequence.logprobs.empty() ? nullptr : &sequence.logprobs[j]});
    }
    sequence.text = text.take_text();
    sequence.ids = std::move(hypothesis.ids);
  }
}

}  // namespace

void beam_search(Run& run, std::vector<PromptRun>& prompts, std::vector<GeneratedSequence>& out) {
  std::span<float> logits = run.read_prompts(prompts);
  const size_t vocab = run.vocab_size();
  std::vector<BeamPrompt> searches;
  searches.reserve(prompts.size());
  for (PromptRun& prompt : prompts) searches.emplace_back(run, prompt);
  BeamWorkspace work(run);

  if (!logits.empty()) {
    for (size_t i = 0; i < searches.size(); ++i) searches[i].step(logits.subspan(i * vocab, vocab), work);
  }
  while (!run.cancelled() && !std::ranges::all_of(searches, &BeamPrompt::done)) {
    work.inputs.clear();
    for (const BeamPrompt& search : searches) {
      if (!search.done()) search.add_inputs(work.inputs);
    }
    logits = run.forward(work.inputs);
    size_t row = 0;
    for (BeamPrompt& search : searches) {
      if (search.done()) continue;
      const size_t rows = search.rows();
      search.step(logits.subspan(row * vocab, rows * vocab), work);
      row += rows;
    }
  }
  for (BeamPrompt& search : searches) search.finish(out);
}

}  // namespace bamba
