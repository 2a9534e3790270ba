// One step of the scheduler: what runs, and what its logits choose.
#include <algorithm>
#include <exception>
#include <utility>

#include "engine/scheduler.h"
#include "model/loss.h"

namespace bamba {
namespace {

int64_t unread(const Sequence& sequence) {
  return static_cast<int64_t>(sequence.ids.size()) - sequence.state->length();
}

/// How far a piece may go: to the next cut, or to the end.
int64_t to_next_cut(const Job& job, int64_t length, int64_t left) {
  if (job.forked) return left;  // read again after making way: snapshots were taken the first time
  for (const CutPoint& cut : job.cuts) {
    if (cut.length > length) return std::min(left, cut.length - length);
  }
  return left;
}

}  // namespace

void Scheduler::step() {
  if (running_.empty()) return;
  const double began = clock_();
  ensure_room();
  plan();
  while (!pieces_.empty() && !run_model()) plan();
  metrics_.last_batch_sequences = static_cast<int64_t>(pieces_.size());
  metrics_.last_batch_tokens = 0;
  for (const Piece& piece : pieces_) metrics_.last_batch_tokens += piece.count;
  end_finished();
  ++metrics_.steps;
  metrics_.step_seconds += clock_() - began;
}

void Scheduler::plan() {
  pieces_.clear();
  shares_.clear();
  for (const auto& job : running_) {
    if (job->ended || !job->forked) continue;
    for (size_t i = 0; i < job->sequences.size(); ++i) {
      if (job->sequences[i].finished || unread(job->sequences[i]) != 1) continue;
      pieces_.push_back({job.get(), i, 1, true, false});
    }
  }
  plan_prompts(limits_.step_tokens - static_cast<int64_t>(pieces_.size()));
}

/// Once the leader has come so far, or is gone, the prompt goes on from the longest snapshot there is.
bool Scheduler::waits_for_leader(Job& job) {
  if (job.leader == 0) return false;
  Sequence& sequence = job.sequences[0];
  const auto leader =
      std::find_if(running_.begin(), running_.end(), [&](const auto& other) { return other->number == job.leader; });
  if (leader != running_.end() && !(*leader)->ended && !(*leader)->forked &&
      (*leader)->sequences[0].state->length() < job.leader_length) {
    return true;
  }
  job.leader = 0;
  CacheHit hit = cache_->find(job.prompt, static_cast<int64_t>(job.prompt.size()) - 1);
  const int64_t gained = hit.state ? hit.length - sequence.state->length() : 0;
  if (gained <= 0) return false;
  if (job.usage.cached_tokens == 0) {
    ++metrics_.cache_hits;
    --metrics_.cache_misses;
  }
  sequence.state = std::move(hit.state);
  job.usage.cached_tokens += gained;
  job.snapshot_length = hit.length;
  metrics_.cached_tokens += static_cast<uint64_t>(gained);
  return false;
}

void Scheduler::plan_prompts(int64_t budget) {
  const Job* with_logprobs = nullptr;  // one a step: the first to end
  for (const auto& job : running_) {
    if (job->ended || job->forked || !job->request.prompt_logprobs) continue;
    if (with_logprobs == nullptr || job->request.priority > with_logprobs->request.priority) with_logprobs = job.get();
  }
  reading_.clear();
  for (const auto& job : running_) {
    if (job->ended || waits_for_leader(*job)) continue;
    for (size_t i = 0; i < job->sequences.size(); ++i) {
      const Sequence& sequence = job->sequences[i];
      if (sequence.finished) continue;
      const int64_t left = unread(sequence);
      if (job->forked && left == 1) continue;
      int64_t available = to_next_cut(*job, sequence.state->length(), left);
      if (!job->forked && job->request.prompt_logprobs) {
        available = job.get() == with_logprobs ? std::min(available, kLogprobPiece) : 0;
      }
      shares_.push_back({.priority = job->request.priority,
                         .number = job->number,
                         .item = reading_.size(),
                         .start = sequence.state->length(),
                         .left = left,
                         .available = available});
      reading_.emplace_back(job.get(), i);
    }
  }
  share_prompt_budget(shares_, budget, limits_.cut_multiple);
  for (const PromptShare& share : shares_) {
    if (share.given == 0) continue;
    const auto [job, sequence] = reading_[share.item];
    const bool all_logits = !job->forked && job->request.prompt_logprobs;
    pieces_.push_back({job, sequence, share.given, share.given == share.left, all_logits});
  }
}

/// False when memory did not suffice and somebody made way: the step is to be planned again.
bool Scheduler::run_model() {
  inputs_.clear();
  draws_.clear();
  bool best_only = true;
  bool drawn = model_.draws_tokens();
  for (const Piece& piece : pieces_) {
    const Sequence& sequence = piece.job->sequences[piece.sequence];
    const auto read = static_cast<size_t>(sequence.state->length());
    inputs_.push_back({sequence.state.get(), std::span(sequence.ids).subspan(read, static_cast<size_t>(piece.count)),
                       piece.ends, piece.all_logits});
    if (piece.all_logits) best_only = drawn = false;
    if (!piece.ends) continue;
    const Chooser& chooser = piece.job->chooser(piece.sequence);
    if (!chooser.takes_the_best()) best_only = false;
    // The sequences of one prompt draw their first tokens from one row.
    if (!chooser.only_draws() || (!piece.job->forked && piece.job->count > 1)) drawn = false;
    if (drawn) draws_.push_back(chooser.draw_for(sequence));
  }
  std::span<const int64_t> chosen;  // where the model chooses itself, and no logits come here
  std::span<float> logits;
  const double began = clock_();
  try {
    if (best_only) {
      chosen = model_.forward_best(inputs_);
    } else if (drawn) {
      chosen = model_.forward_drawn(inputs_, draws_);
    } else {
      logits = model_.forward(inputs_);
    }
  } catch (...) {
    const Error error = current_error();
    metrics_.model_seconds += clock_() - began;
    const auto left = std::count_if(running_.begin(), running_.end(), [](const auto& job) { return !job->ended; });
    if (error.code() == ErrorCode::out_of_memory && left > 1) {
      preempt(first_to_make_way());
      return false;
    }
    for (const Piece& piece : pieces_) fail_job(*piece.job, error);
    return true;
  }
  metrics_.model_seconds += clock_() - began;
  take_rows(logits, chosen);
  return true;
}

void Scheduler::take_rows(std::span<float> logits, std::span<const int64_t> chosen) {
  choose_tokens(logits, chosen);
  const auto vocab = static_cast<size_t>(model_.vocab_size());
  size_t row = 0;
  for (const Piece& piece : pieces_) {
    if (!piece.job->forked || piece.count > 1) metrics_.prefill_tokens += static_cast<uint64_t>(piece.count);
    if (!piece.job->ended) {
      try {
        const size_t rows_read = piece.all_logits ? static_cast<size_t>(piece.count) * vocab : 0;
        take_piece(piece, logits.subspan(rows_read > 0 ? row * vocab : 0, rows_read));
      } catch (...) {
        fail_job(*piece.job, current_error());
      }
    }
    row += piece.rows();
  }
}

/// All that can be found out about the next tokens before any of them is told, on all threads.
void Scheduler::choose_tokens(std::span<float> logits, std::span<const int64_t> chosen) {
  const auto vocab = static_cast<size_t>(model_.vocab_size());
  rows_.start();
  row_copies_used_ = 0;
  size_t row = 0;
  for (Piece& piece : pieces_) {
    row += piece.rows();
    if (!piece.ends) continue;
    try {
      if (chosen.empty()) {
        add_rows(piece, logits.subspan((row - 1) * vocab, vocab), nullptr);
      } else {
        add_rows(piece, {}, &chosen[row - 1]);
      }
    } catch (...) {
      fail_job(*piece.job, current_error());
    }
  }
  rows_.choose(model_);
}

/// `row`: the logits after the piece, unless the model has chosen.
void Scheduler::add_rows(Piece& piece, std::span<float> row, const int64_t* chosen) {
  Job& job = *piece.job;
  std::span<const Sequence> sequences(&job.sequences[piece.sequence], 1);
  if (!job.forked) {
    // Every sequence gets its first token from the prompt's row.
    for (int64_t i = std::ssize(job.sequences); i < job.count; ++i) {
      job.sequences.push_back(new_sequence(TextStream(tools_, job.rules), 0, i, job.prompt, job.max_length));
    }
    sequences = job.sequences;
  }
  if (chosen != nullptr) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      const Choice choice = job.chooser(piece.sequence + i).choice_of_model(sequences[i], *chosen);
      const size_t place = rows_.add(choice);
      if (i == 0) piece.choice = place;
    }
    return;
  }
  if (job.choosers.size() == 1 || sequences.size() == 1) {
    piece.choice = rows_.add(job.chooser(piece.sequence), sequences, row);
    return;
  }
  // With a processor each, every sequence's chooser changes the row for itself.
  for (size_t i = 0; i < sequences.size(); ++i) {
    std::span<float> own = row;
    if (i > 0) {
      if (row_copies_used_ == row_copies_.size()) row_copies_.emplace_back();
      row_copies_[row_copies_used_].assign(row.begin(), row.end());
      own = row_copies_[row_copies_used_++];
    }
    const size_t place = rows_.add(job.chooser(i), sequences.subspan(i, 1), own);
    if (i == 0) piece.choice = place;
  }
}

/// `logits`: one row a token, where the piece asked for them.
void Scheduler::take_piece(const Piece& piece, std::span<const float> logits) {
  Job& job = *piece.job;
  Sequence& sequence = job.sequences[piece.sequence];
  if (piece.all_logits) add_prompt_logprobs(job, logits, piece.count);
  if (!piece.ends) {
    if (job.forked) return;
    const int64_t length = sequence.state->length();
    const auto cut =
        std::find_if(job.cuts.begin(), job.cuts.end(), [&](const CutPoint& point) { return point.length == length; });
    if (cut != job.cuts.end()) keep_snapshot(job, sequence, cut->kind);
    return;
  }
  if (!job.forked) {
    first_tokens(job, piece.choice);
    return;
  }
  next_token(job, piece.sequence, rows_.choice(piece.choice), clock_());
  if (sequence.finished && !job.ended) close_sequence(job, piece.sequence);
}

/// Log-probabilities of the prompt's tokens after those that gave the rows.
void Scheduler::add_prompt_logprobs(Job& job, std::span<const float> rows, int64_t count) {
  const Sequence& sequence = job.sequences[0];
  const auto vocab = static_cast<size_t>(model_.vocab_size());
  const auto first =
      static_cast<size_t>(sequence.state->length() - count) + 1;  // the token that the first row predicts
  const size_t predicted = std::min(static_cast<size_t>(count), job.prompt.size() - first);
  const size_t before = job.prompt_logprobs.size();
  job.prompt_logprobs.resize(before + predicted);
  selectors_.resize(static_cast<size_t>(model_.threads()));
  std::vector<std::exception_ptr> errors(predicted);
  model_.parallel_for(static_cast<int64_t>(predicted), [&](int64_t task, int thread) {
    const auto i = static_cast<size_t>(task);
    const auto row = rows.subspan(i * vocab, vocab);
    try {
      if (!job.config.remove_invalid_values) check_logits(row, 0, 0, 0);
      job.prompt_logprobs[before + i] = token_logprob(row, log_sum_exp(row), job.prompt[first + i],
                                                      job.config.top_logprobs, selectors_[static_cast<size_t>(thread)]);
    } catch (...) {
      errors[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

/// The prompt is read: every sequence gets its first token from the same row, and those that go on a state.
void Scheduler::first_tokens(Job& job, size_t choice) {
  const double now = clock_();
  job.first_token_at = now;
  job.usage.time_to_first_token = now - job.submitted_at;
  metrics_.time_to_first_token.add(job.usage.time_to_first_token);
  tell(job, [&](EngineListener& listener) { listener.prompt_done(job.usage, job.prompt_logprobs); });
  job.token_times.assign(job.sequences.size(), now);
  if (job.ranked()) job.held_back.resize(job.sequences.size());
  job.forked = true;

  for (size_t i = 0; i < job.sequences.size() && !job.ended; ++i) {
    next_token(job, i, rows_.choice(choice + i), now);
  }
  if (job.ended) return;

  auto state = std::move(job.sequences[0].state);
  Sequence* last = nullptr;
  for (Sequence& sequence : job.sequences) {
    if (sequence.finished) continue;
    if (last != nullptr) last->state = state->fork();
    last = &sequence;
  }
  (last != nullptr ? last : &job.sequences[0])->state = std::move(state);
  for (size_t i = 0; i < job.sequences.size(); ++i) {
    if (job.sequences[i].finished) close_sequence(job, i);
  }
}

void Scheduler::next_token(Job& job, size_t sequence, Choice& choice, double now) {
  Sequence& grown = job.sequences[sequence];
  append_token(choice, job.rules, grown);
  ++job.usage.completion_tokens;
  ++metrics_.generated_tokens;
  if (grown.result.ids.size() > 1) metrics_.inter_token.add(now - job.token_times[sequence]);
  job.token_times[sequence] = now;
  job.last_token_at = now;
  if (!job.ranked()) {
    tell(job, [&](EngineListener& listener) { listener.token(stream_event(grown)); });
  }
}

void Scheduler::close_sequence(Job& job, size_t sequence) {
  Sequence& closed = job.sequences[sequence];
  // Of several replies nobody knows which one goes on.
  if (job.count == 1 && closed.state && closed.state->length() - job.snapshot_length >= kNearSnapshot) {
    keep_snapshot(job, closed, SnapshotKind::reply_end);
  }
  closed.state.reset();
  GeneratedSequence result = take_result(closed);
  if (job.ranked()) {
    job.held_back[sequence] = std::move(result);
  } else {
    tell(job, [&](EngineListener& listener) { listener.sequence_finished(static_cast<int64_t>(sequence), result); });
  }
}

}  // namespace bamba
