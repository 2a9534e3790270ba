// One step of the scheduler: what runs, and what its logits choose.
#include <algorithm>
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
  bool best_only = true;
  for (const Piece& piece : pieces_) {
    const Sequence& sequence = piece.job->sequences[piece.sequence];
    const auto read = static_cast<size_t>(sequence.state->length());
    inputs_.push_back({sequence.state.get(), std::span(sequence.ids).subspan(read, static_cast<size_t>(piece.count)),
                       piece.ends, piece.all_logits});
    if (piece.all_logits || (piece.ends && !piece.job->chooser(piece.sequence).takes_the_best())) best_only = false;
  }
  std::span<const int64_t> best;
  std::span<float> logits;
  const double began = clock_();
  try {
    if (best_only) {
      best = model_.forward_best(inputs_);
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
  take_rows(logits, best);
  return true;
}

void Scheduler::take_rows(std::span<float> logits, std::span<const int64_t> best) {
  const auto vocab = static_cast<size_t>(model_.vocab_size());
  size_t row = 0;
  for (const Piece& piece : pieces_) {
    const size_t rows = piece.all_logits ? static_cast<size_t>(piece.count) : piece.ends ? 1 : 0;
    if (!piece.job->forked || piece.count > 1) metrics_.prefill_tokens += static_cast<uint64_t>(piece.count);
    if (!piece.job->ended) {
      try {
        if (rows == 0) {
          take_piece(piece, {}, nullptr);
        } else if (!best.empty()) {
          take_piece(piece, {}, &best[row]);
        } else {
          take_piece(piece, logits.subspan(row * vocab, rows * vocab), nullptr);
        }
      } catch (...) {
        fail_job(*piece.job, current_error());
      }
    }
    row += rows;
  }
}

void Scheduler::take_piece(const Piece& piece, std::span<float> rows, const int64_t* best) {
  Job& job = *piece.job;
  Sequence& sequence = job.sequences[piece.sequence];
  if (piece.all_logits) add_prompt_logprobs(job, rows, piece.count);
  if (!piece.ends) {
    if (job.forked) return;
    const int64_t length = sequence.state->length();
    const auto cut =
        std::find_if(job.cuts.begin(), job.cuts.end(), [&](const CutPoint& point) { return point.length == length; });
    if (cut != job.cuts.end()) keep_snapshot(job, sequence, cut->kind);
    return;
  }
  const std::span<float> row = best != nullptr ? rows : rows.last(static_cast<size_t>(model_.vocab_size()));
  if (!job.forked) {
    first_tokens(job, row, best);
    return;
  }
  Chooser& chooser = job.chooser(piece.sequence);
  if (best != nullptr) {
    chooser.set_best(sequence, *best);
  } else {
    chooser.prepare(sequence, row);
  }
  next_token(job, piece.sequence, clock_());
  if (sequence.finished && !job.ended) close_sequence(job, piece.sequence);
}

/// Log-probabilities of the prompt's tokens after those that gave the rows.
void Scheduler::add_prompt_logprobs(Job& job, std::span<const float> rows, int64_t count) {
  const Sequence& sequence = job.sequences[0];
  const auto vocab = static_cast<size_t>(model_.vocab_size());
  const int64_t first = sequence.state->length() - count;
  for (int64_t i = 0; i < count; ++i) {
    const auto predicted = static_cast<size_t>(first + i + 1);
    if (predicted >= job.prompt.size()) return;
    const auto row = rows.subspan(static_cast<size_t>(i) * vocab, vocab);
    if (!job.config.remove_invalid_values) check_logits(row, 0, 0, 0);
    job.prompt_logprobs.push_back(
        token_logprob(row, log_sum_exp(row), job.prompt[predicted], job.config.top_logprobs, selector_));
  }
}

/// The prompt is read: every sequence gets its first token from the same row, and those that go on a state.
void Scheduler::first_tokens(Job& job, std::span<float> row, const int64_t* best) {
  const double now = clock_();
  job.first_token_at = now;
  job.usage.time_to_first_token = now - job.submitted_at;
  metrics_.time_to_first_token.add(job.usage.time_to_first_token);
  tell(job, [&](EngineListener& listener) { listener.prompt_done(job.usage, job.prompt_logprobs); });
  for (int64_t i = 1; i < job.count; ++i) {
    job.sequences.push_back(new_sequence(TextStream(tools_, job.rules), 0, i, job.prompt, job.max_length));
  }
  job.token_times.assign(job.sequences.size(), now);
  if (job.ranked()) job.held_back.resize(job.sequences.size());
  job.forked = true;

  // With a processor each, every sequence's chooser changes the row for itself.
  const bool each = job.choosers.size() > 1;
  if (each) row_copy_.assign(row.begin(), row.end());
  for (size_t i = 0; i < job.sequences.size() && !job.ended; ++i) {
    if (best != nullptr) {
      job.chooser(i).set_best(job.sequences[i], *best);
    } else if (i == 0 || each) {
      if (i > 0) std::copy(row_copy_.begin(), row_copy_.end(), row.begin());
      job.chooser(i).prepare(job.sequences[i], row);
    }
    next_token(job, i, now);
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

void Scheduler::next_token(Job& job, size_t sequence, double now) {
  Sequence& grown = job.sequences[sequence];
  append_token(job.chooser(sequence), job.rules, grown);
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
