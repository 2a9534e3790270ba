#include "engine/scheduler.h"

#include <algorithm>
#include <limits>
#include <new>
#include <numeric>
#include <utility>

#include "base/str.h"
#include "base/warning.h"

namespace bamba {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Cuts for snapshots that somebody asked for may be this close together at the least.
constexpr int64_t kCutSpacing = 64;

/// Does `a` start before `b`?
bool starts_before(const Job& a, const Job& b) {
  if (a.request.priority != b.request.priority) return a.request.priority > b.request.priority;
  return a.number < b.number;
}

int64_t places(const Job& job) {
  if (!job.forked) return job.count;
  return std::count_if(job.sequences.begin(), job.sequences.end(),
                       [](const Sequence& sequence) { return !sequence.finished; });
}

double mean_logprob(const GeneratedSequence& sequence) {
  double sum = 0;
  for (const TokenLogprob& token : sequence.logprobs) sum += token.logprob;
  return sequence.logprobs.empty() ? -kNever : sum / static_cast<double>(sequence.logprobs.size());
}

}  // namespace

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ErrorCode::out_of_memory, "memory for the request cannot be had"};
  } catch (const std::exception& error) {
    return {ErrorCode::internal, error.what()};
  } catch (...) {
    return {ErrorCode::internal, "something was thrown that is not a std::exception"};
  }
}

Scheduler::Scheduler(StepModel& model, const TextTools& tools, StateCache* cache, const SchedulerLimits& limits,
                     std::function<double()> clock)
    : model_(model), tools_(tools), cache_(cache), limits_(limits), clock_(std::move(clock)), next_deadline_(kNever) {}

// --- memory -------------------------------------------------------------------------------------------------------

size_t Scheduler::bytes_with(const Job& job, int64_t more, int64_t least) const {
  const auto bytes = [&](size_t tokens) {
    return model_.state_bytes(std::min(job.max_length, std::max(static_cast<int64_t>(tokens) + more, least)));
  };
  if (!job.forked) return static_cast<size_t>(job.count) * bytes(job.prompt.size());
  size_t total = 0;
  for (const Sequence& sequence : job.sequences) total += sequence.finished ? 0 : bytes(sequence.ids.size());
  return total;
}

size_t Scheduler::expected_bytes(const Job& job) const {
  return bytes_with(job, kHeadroom, static_cast<int64_t>(job.prompt.size()) + kExpectedReply);
}

Scheduler::Load Scheduler::expected_load() const {
  Load load;
  for (const auto& job : running_) {
    load.places += places(*job);
    load.bytes += expected_bytes(*job);
  }
  return load;
}

bool Scheduler::fits(const Job& job, const Load& load) const {
  return load.places + places(job) <= limits_.max_sequences &&
         load.bytes + expected_bytes(job) <= limits_.running_bytes;
}

void Scheduler::check_fits(const Job& job) const {
  if (job.count > limits_.max_sequences) {
    fail(ErrorCode::invalid_argument, "the request asks for ", job.count, " sequences; at most ", limits_.max_sequences,
         " run together");
  }
  const size_t bytes = static_cast<size_t>(job.count) * model_.state_bytes(job.max_length);
  if (bytes > limits_.running_bytes) {
    fail(ErrorCode::invalid_argument, "the prompt of ", job.prompt.size(), " tokens with a reply of up to ",
         job.max_length - static_cast<int64_t>(job.prompt.size()), " in ", job.count, " sequence(s) takes ", bytes,
         " bytes; states of running requests may take ", limits_.running_bytes);
  }
}

size_t Scheduler::running_bytes() const {
  size_t total = 0;
  for (const auto& job : running_) total += used_bytes(*job);
  return total;
}

size_t Scheduler::host_bytes() const {
  size_t total = 0;
  for (const auto& job : waiting_) {
    for (const HostSnapshot& snapshot : job->aside) total += snapshot.bytes();
  }
  return total;
}

// --- starting -----------------------------------------------------------------------------------------------------

void Scheduler::insert_waiting(std::unique_ptr<Job> job) {
  const auto place = std::lower_bound(waiting_.begin(), waiting_.end(), job,
                                      [](const auto& held, const auto& added) { return starts_before(*added, *held); });
  waiting_.insert(place, std::move(job));
}

void Scheduler::add(std::unique_ptr<Job> job) {
  next_deadline_ = std::min(next_deadline_, job->deadline);
  insert_waiting(std::move(job));
}

void Scheduler::expire() {
  const double now = clock_();
  if (now < next_deadline_) return;
  next_deadline_ = kNever;
  const auto expire_in = [&](JobList& list) {
    for (const auto& job : list) {
      if (now < job->deadline) {
        next_deadline_ = std::min(next_deadline_, job->deadline);
        continue;
      }
      keep_unfinished(*job);
      fail_job(*job, Error(ErrorCode::timeout, str("the request took longer than the ", *job->request.timeout_seconds,
                                                   " seconds it was given")));
    }
    std::erase_if(list, [](const auto& job) { return job->ended; });
  };
  expire_in(waiting_);
  expire_in(running_);
}

void Scheduler::admit() {
  const double began = clock_();
  expire();
  while (!waiting_.empty()) {
    const Job& next = *waiting_.back();
    if (!fits(next, expected_load()) && !make_way_for(next)) break;
    auto job = std::move(waiting_.back());
    waiting_.pop_back();
    if (!start(std::move(job))) break;
  }
  metrics_.step_seconds += clock_() - began;
}

bool Scheduler::start(std::unique_ptr<Job> job) {
  try {
    if (job->started) {
      resume(*job);
    } else {
      begin(*job);
    }
    running_.push_back(std::move(job));
  } catch (...) {
    const Error error = current_error();
    if (error.code() == ErrorCode::out_of_memory && !running_.empty()) {
      insert_waiting(std::move(job));
      return false;
    }
    fail_job(*job, error);
  }
  return true;
}

std::unique_ptr<StepState> Scheduler::find_state(std::span<const int64_t> ids, CacheHit& hit) {
  if (cache_ != nullptr) hit = cache_->find(ids, static_cast<int64_t>(ids.size()) - 1);
  if (!hit.state) hit = {};
  return hit.state ? std::move(hit.state) : model_.new_state();
}

void Scheduler::begin(Job& job) {
  // What may fail for want of memory comes first: the request is then begun again.
  CacheHit hit;
  const bool from_cache = cache_ != nullptr && !job.request.prompt_logprobs;
  auto state = from_cache ? find_state(job.prompt, hit) : model_.new_state();

  job.started = true;
  const double now = clock_();
  job.usage.queue_seconds = now - job.submitted_at;
  metrics_.queue_time.add(job.usage.queue_seconds);
  if (job.request.new_processor) {
    for (int64_t i = 0; i < job.count; ++i) {
      job.processors.push_back(job.request.new_processor());
      if (!job.processors.back()) fail(ErrorCode::invalid_argument, "new_processor returned an empty function");
    }
  }
  const std::span<const LogitsProcessor> processors(job.processors);
  for (size_t i = 0; i < std::max<size_t>(1, processors.size()); ++i) {
    job.choosers.push_back(
        std::make_unique<Chooser>(job.config, processors.empty() ? processors : processors.subspan(i, 1)));
  }
  job.sequences.reserve(static_cast<size_t>(job.count));
  job.sequences.push_back(new_sequence(TextStream(tools_, job.rules), 0, 0, job.prompt, job.max_length));
  job.sequences[0].state = std::move(state);

  job.usage.cached_tokens = hit.length;
  job.snapshot_length = hit.length;
  metrics_.prompt_tokens += job.prompt.size();
  metrics_.cached_tokens += static_cast<uint64_t>(hit.length);
  if (from_cache) ++(hit.length > 0 ? metrics_.cache_hits : metrics_.cache_misses);
  if (hit.from_disk) ++metrics_.disk_hits;
  if (cache_ == nullptr) return;
  job.cuts = cut_points({.prompt_length = static_cast<int64_t>(job.prompt.size()),
                         .held = hit.length,
                         .shared = cache_->shared_length(job.prompt),
                         .asked = job.request.cache_points,
                         .stride = limits_.cache_stride,
                         .spacing = std::max(kCutSpacing, limits_.step_tokens / 4)});
  if (from_cache) follow(job);
}

/// Of those that read just now, finds one whose prompt begins like this one's; it is cut where the two part.
void Scheduler::follow(Job& job) {
  const auto own_end = static_cast<int64_t>(job.prompt.size()) - 1;
  Job* leader = nullptr;
  // Less than that is read sooner than waited for.
  int64_t best = job.sequences[0].state->length() + kCutSpacing - 1;
  for (const auto& other : running_) {
    // One of a lower priority might be long in coming there.
    if (other->ended || other->forked || other->request.priority < job.request.priority) continue;
    const auto parting =
        std::mismatch(job.prompt.begin(), job.prompt.end(), other->prompt.begin(), other->prompt.end());
    const auto alike = static_cast<int64_t>(parting.first - job.prompt.begin());
    const int64_t length = std::min({alike, own_end, static_cast<int64_t>(other->prompt.size()) - 1});
    if (length <= best || length <= other->sequences[0].state->length()) continue;
    leader = other.get();
    best = length;
  }
  if (leader == nullptr) return;
  const auto after = std::upper_bound(leader->cuts.begin(), leader->cuts.end(), best,
                                      [](int64_t length, const CutPoint& cut) { return length < cut.length; });
  const bool near = after != leader->cuts.begin() && best - std::prev(after)->length < kNearSnapshot &&
                    std::prev(after)->length > leader->sequences[0].state->length();
  job.leader = leader->number;
  job.leader_length = near ? std::prev(after)->length : best;
  if (!near) leader->cuts.insert(after, {best, SnapshotKind::junction});
}

void Scheduler::resume(Job& job) {
  std::vector<std::unique_ptr<StepState>> states(job.sequences.size());
  for (size_t i = 0; i < states.size(); ++i) {
    const Sequence& sequence = job.sequences[i];
    if (sequence.finished) continue;
    CacheHit hit;
    if (!job.aside.empty()) {
      states[i] = model_.from_host(job.aside[i]);
    } else if (job.request.prompt_logprobs && !job.forked) {
      states[i] = model_.new_state();
    } else {
      states[i] = find_state(sequence.ids, hit);
    }
  }
  for (size_t i = 0; i < states.size(); ++i) job.sequences[i].state = std::move(states[i]);
  if (job.aside.empty() && !job.forked) job.prompt_logprobs.clear();
  job.aside.clear();
  job.preempted = false;
}

// --- making way ---------------------------------------------------------------------------------------------------

size_t Scheduler::first_to_make_way() const {
  size_t lowest = running_.size();
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->ended) continue;
    if (lowest == running_.size()) {
      lowest = i;
      continue;
    }
    const Job& a = *running_[i];
    const Job& b = *running_[lowest];
    const bool lower =
        a.request.priority != b.request.priority ? a.request.priority < b.request.priority : a.number > b.number;
    if (lower) lowest = i;
  }
  return lowest;
}

bool Scheduler::make_way_for(const Job& job) {
  std::vector<const Job*> lower;
  for (const auto& running : running_) {
    if (running->request.priority < job.request.priority) lower.push_back(running.get());
  }
  std::sort(lower.begin(), lower.end(), [](const Job* a, const Job* b) {
    return a->request.priority != b->request.priority ? a->request.priority < b->request.priority
                                                      : a->number > b->number;
  });
  Load load = expected_load();
  size_t needed = 0;
  while (needed < lower.size() && !fits(job, load)) {
    load.places -= places(*lower[needed]);
    load.bytes -= expected_bytes(*lower[needed]);
    ++needed;
  }
  if (!fits(job, load)) return false;
  for (size_t i = 0; i < needed; ++i) preempt(first_to_make_way());
  return true;
}

void Scheduler::preempt(size_t place) {
  auto job = std::move(running_[place]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(place));
  ++metrics_.preemptions;
  if (!keep_aside(*job)) {
    ++metrics_.recomputations;
    keep_unfinished(*job);
  }
  for (Sequence& sequence : job->sequences) sequence.state.reset();
  job->preempted = true;
  insert_waiting(std::move(job));
}

/// Copies the states to the host; false when host_bytes forbids that, or memory does.
bool Scheduler::keep_aside(Job& job) {
  size_t bytes = host_bytes();
  for (const Sequence& sequence : job.sequences) {
    if (sequence.state) bytes += model_.state_bytes(sequence.state->length());
  }
  if (bytes > limits_.host_bytes) return false;
  try {
    std::vector<HostSnapshot> aside(job.sequences.size());
    for (size_t i = 0; i < aside.size(); ++i) {
      if (job.sequences[i].state) aside[i] = job.sequences[i].state->to_host();
    }
    job.aside = std::move(aside);
    return true;
  } catch (const Error&) {
    return false;  // reading again needs no memory on the host
  }
}

void Scheduler::ensure_room() {
  while (running_.size() > 1 && running_bytes() > limits_.running_bytes) preempt(first_to_make_way());
}

// --- endings ------------------------------------------------------------------------------------------------------

void Scheduler::keep_snapshot(Job& job, const Sequence& sequence, SnapshotKind kind) {
  if (cache_ == nullptr || !sequence.state) return;
  const int64_t length = sequence.state->length();
  if (length == 0) return;
  try {
    cache_->insert(std::span(sequence.ids).first(static_cast<size_t>(length)), *sequence.state, kind);
    job.snapshot_length = std::max(job.snapshot_length, length);
  } catch (const Error& error) {
    warn("a snapshot of ", length, " tokens is not kept: ", error.what());
  }
}

/// What was read or written so far is worth keeping: whoever asks again goes on from there.
void Scheduler::keep_unfinished(Job& job) {
  if (job.sequences.empty() || job.count != 1) return;
  const Sequence& sequence = job.sequences[0];
  if (!sequence.state || sequence.state->length() - job.snapshot_length < kNearSnapshot) return;
  keep_snapshot(job, sequence, job.forked ? SnapshotKind::reply_end : SnapshotKind::stride);
}

void Scheduler::fail_job(Job& job, const Error& error) {
  if (job.ended) return;
  ++(error.code() == ErrorCode::cancelled ? metrics_.requests_cancelled : metrics_.requests_failed);
  try {
    job.listener->failed(error);
  } catch (...) {  // it hears nothing more in any case
  }
  job.ended = true;
}

void Scheduler::finish(Job& job) {
  if (job.ranked()) {
    std::vector<size_t> order(job.held_back.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return mean_logprob(job.held_back[a]) > mean_logprob(job.held_back[b]);
    });
    for (int64_t rank = 0; rank < job.config.num_return_sequences; ++rank) {
      GeneratedSequence& sequence = job.held_back[order[static_cast<size_t>(rank)]];
      if (!job.request.generation.output_logprobs) sequence.logprobs.clear();
      tell(job, [&](EngineListener& listener) { listener.sequence_finished(rank, sequence); });
    }
  }
  job.usage.decode_seconds = job.last_token_at - job.first_token_at;
  tell(job, [&](EngineListener& listener) { listener.finished(job.usage); });
  if (job.ended) return;
  ++metrics_.requests_finished;
  job.ended = true;
}

void Scheduler::end_finished() {
  for (const auto& job : running_) {
    if (!job->ended && job->forked && places(*job) == 0) finish(*job);
  }
  std::erase_if(running_, [](const auto& job) { return job->ended; });
}

void Scheduler::end(uint64_t number, const Error& error) {
  for (JobList* list : {&waiting_, &running_}) {
    const auto job = std::find_if(list->begin(), list->end(), [&](const auto& held) { return held->number == number; });
    if (job == list->end()) continue;
    keep_unfinished(**job);
    fail_job(**job, error);
    list->erase(job);
    return;
  }
}

void Scheduler::end_all(const Error& error) {
  for (JobList* list : {&running_, &waiting_}) {
    for (const auto& job : *list) {
      keep_unfinished(*job);
      fail_job(*job, error);
    }
    list->clear();
  }
}

const EngineMetrics& Scheduler::metrics() {
  metrics_.preempted = std::count_if(waiting_.begin(), waiting_.end(), [](const auto& job) { return job->preempted; });
  metrics_.waiting = static_cast<int64_t>(waiting_.size()) - metrics_.preempted;
  metrics_.running = static_cast<int64_t>(running_.size());
  metrics_.sequences = 0;
  for (const auto& job : running_) metrics_.sequences += places(*job);
  metrics_.running_bytes = running_bytes();
  metrics_.host_bytes = host_bytes();
  if (cache_ != nullptr) {
    const StateCacheStats stats = cache_->stats();
    metrics_.cache_bytes = stats.bytes;
    metrics_.cache_snapshots = stats.snapshots;
    metrics_.cache_evictions = stats.evictions;
    metrics_.disk_bytes = stats.disk_bytes;
    metrics_.disk_snapshots = stats.disk_snapshots;
    metrics_.disk_rejected = stats.disk_rejected;
  }
  return metrics_;
}

}  // namespace bamba
