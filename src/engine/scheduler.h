// What runs next: admission, the cut of each step, preemption; and what becomes of a step's logits.
//
// The policy, without threads: Engine calls it from its own thread, tests from theirs.
//
//  * Order of starting: the highest priority; of these, the oldest, so that one that made way comes before new ones.
//    Nobody overtakes the first in this order, so nobody starves behind smaller requests.
//  * A request starts when its sequences have places (max_sequences) and when the memory that it and the running ones
//    are expected to need fits running_bytes. Expected are the prompt and kExpectedReply new tokens, or kHeadroom more
//    than a sequence has already where that is more, all within its max_length.
//  * When sequences outgrow what was expected and memory runs out, the running request of the lowest priority makes
//    way, among equals the youngest. So it does for a waiting one of a higher priority. Its states go to the host while
//    they fit host_bytes; otherwise they are dropped, and what they held is read again.
//  * Prompts that begin alike read their beginning once: the later one waits for the snapshot of the earlier.
//  * A step takes one token of every sequence that writes; prompts share the rest of step_tokens (prompt_budget.h).
#pragma once

#include <bamba/engine.h>

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/job.h"
#include "engine/prompt_budget.h"
#include "engine/state_cache.h"
#include "generation/row_chooser.h"
#include "generation/step_model.h"

namespace bamba {

struct SchedulerLimits {
  int64_t max_sequences = 64;
  int64_t step_tokens = 256;  ///< at least max_sequences
  size_t running_bytes = 0;
  size_t host_bytes = 0;
  int64_t cut_multiple = 1;  ///< see share_prompt_budget
  int64_t cache_stride = 0;
};

class Scheduler {
 public:
  static constexpr int64_t kExpectedReply = 256;
  static constexpr int64_t kHeadroom = 64;
  /// Logits of a prompt's every token are made for so many tokens of a step: 128 rows of a 128k vocabulary are 66 MB.
  static constexpr int64_t kLogprobPiece = 128;

  /// All must outlive the scheduler; `cache` may be null. `clock` gives seconds since some moment.
  Scheduler(StepModel& model, const TextTools& tools, StateCache* cache, const SchedulerLimits& limits,
            std::function<double()> clock);

  /// Throws Error(invalid_argument) when the request could never run: more sequences than max_sequences, or more memory
  /// at its full length than running_bytes. Any thread may call.
  void check_fits(const Job& job) const;

  void add(std::unique_ptr<Job> job);
  /// The request fails with `error`; an unknown number is ignored. What its state holds goes to the cache.
  void end(uint64_t number, const Error& error);
  void end_all(const Error& error);
  bool idle() const { return waiting_.empty() && running_.empty(); }
  size_t jobs() const { return waiting_.size() + running_.size(); }

  /// Ends requests whose time is over, then starts those that fit.
  void admit();
  /// Advances everything that runs.
  void step();

  /// Those marked "now" are brought up to date by the call.
  const EngineMetrics& metrics();

 private:
  /// A sequence's share of a step.
  struct Piece {
    Job* job;
    size_t sequence;
    int64_t count;
    bool ends;          ///< with the sequence's last token: its logits choose the next
    bool all_logits;    ///< for the log-probabilities of a prompt
    size_t choice = 0;  ///< where rows_ has that of the first sequence that the piece gives a token

    size_t rows() const { return all_logits ? static_cast<size_t>(count) : ends ? 1 : 0; }  ///< of logits
  };
  struct Load {
    int64_t places = 0;
    size_t bytes = 0;
  };
  using JobList = std::vector<std::unique_ptr<Job>>;

  // scheduler.cpp: memory, starting, making way, endings.
  /// Of the unfinished sequences (before the fork: of all to come), each with `more` tokens but at least `least` and at
  /// most max_length.
  size_t bytes_with(const Job& job, int64_t more, int64_t least) const;
  size_t used_bytes(const Job& job) const { return bytes_with(job, 0, 0); }
  size_t expected_bytes(const Job& job) const;
  bool fits(const Job& job, const Load& load) const;
  Load expected_load() const;
  size_t running_bytes() const;
  size_t host_bytes() const;

  void insert_waiting(std::unique_ptr<Job> job);
  void expire();
  bool start(std::unique_ptr<Job> job);
  void begin(Job& job);
  void resume(Job& job);
  void follow(Job& job);
  std::unique_ptr<StepState> find_state(std::span<const int64_t> ids, CacheHit& hit);

  bool make_way_for(const Job& job);
  size_t first_to_make_way() const;
  void preempt(size_t place);
  bool keep_aside(Job& job);
  void ensure_room();

  void end_finished();
  void finish(Job& job);
  void fail_job(Job& job, const Error& error);
  void keep_unfinished(Job& job);
  void keep_snapshot(Job& job, const Sequence& sequence, SnapshotKind kind);
  template <typename Call>
  void tell(Job& job, const Call& call);

  // scheduler_step.cpp: one step.
  void plan();
  void plan_prompts(int64_t budget);
  bool waits_for_leader(Job& job);
  bool run_model();
  void take_rows(std::span<float> logits, std::span<const int64_t> chosen);
  void choose_tokens(std::span<float> logits, std::span<const int64_t> chosen);
  void add_rows(Piece& piece, std::span<float> row, const int64_t* chosen);
  void take_piece(const Piece& piece, std::span<const float> logits);
  void first_tokens(Job& job, size_t choice);
  void next_token(Job& job, size_t sequence, Choice& choice, double now);
  void close_sequence(Job& job, size_t sequence);
  void add_prompt_logprobs(Job& job, std::span<const float> rows, int64_t count);

  StepModel& model_;
  const TextTools& tools_;
  StateCache* cache_;
  SchedulerLimits limits_;
  std::function<double()> clock_;
  EngineMetrics metrics_;

  JobList waiting_;  ///< the next to start is the last
  JobList running_;  ///< in the order of starting
  double next_deadline_;

  // Of the step; kept so that steps allocate nothing.
  std::vector<Piece> pieces_;
  std::vector<PromptShare> shares_;
  std::vector<std::pair<Job*, size_t>> reading_;  ///< the sequences of shares_
  std::vector<StepInput> inputs_;
  std::vector<TokenDraw> draws_;
  RowChooser rows_;
  std::vector<std::vector<float>> row_copies_;
  size_t row_copies_used_ = 0;
  std::vector<TopSelector> selectors_;  ///< one a thread
};

/// The exception being handled, as what listeners get: an Error as it is, others with their text.
Error current_error();

template <typename Call>
void Scheduler::tell(Job& job, const Call& call) {
  if (job.ended) return;
  try {
    call(*job.listener);
  } catch (...) {
    // Against its contract. Whoever wrote it must not take the others' requests along.
    job.ended = true;
    ++metrics_.requests_failed;
  }
}

}  // namespace bamba
