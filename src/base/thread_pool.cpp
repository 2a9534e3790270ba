#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bamba {
namespace {

// Waking a sleeping thread takes tens of microseconds, as long as a whole loop of a small model. Loops follow each
// other closely during a pass, so a thread looks out for the next one this long before it goes to sleep.
constexpr std::chrono::microseconds kSpin{50};

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Advice: where the system refuses it, the thread runs wherever it did.
void bind(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  static_cast<void>(pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set));
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int threads) {
  const int cpus = available_cpus();
  if (threads <= 0) threads = cpus;
  may_spin_ = threads <= cpus;
  workers_.reserve(static_cast<size_t>(threads - 1));
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker_main(i); });
  if (threads == cpus && threads > 1) bind_workers();
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::bind_workers() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return;
  const int here = sched_getcpu();
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    if (free_cpu_ < 0 && (cpu == here || worker_cpus_.size() == workers_.size())) {
      free_cpu_ = cpu;
    } else {
      worker_cpus_.push_back(cpu);
    }
  }
  if (worker_cpus_.size() != workers_.size() || free_cpu_ < 0) {  // the mask changed meanwhile
    worker_cpus_.clear();
    return;
  }
  for (size_t i = 0; i < workers_.size(); ++i) bind(workers_[i], worker_cpus_[i]);
}

/// The worker on the caller's processor goes to the free one. Callers seldom move, so this costs a look at the
/// processor's number.
void ThreadPool::make_room_for_caller() {
  if (worker_cpus_.empty()) return;
  const int here = sched_getcpu();
  if (here == free_cpu_) return;
  const auto taken = std::find(worker_cpus_.begin(), worker_cpus_.end(), here);
  if (taken == worker_cpus_.end()) return;  // the caller has another mask than the pool
  bind(workers_[static_cast<size_t>(taken - worker_cpus_.begin())], free_cpu_);
  std::swap(*taken, free_cpu_);
}

/// Returns when the condition holds or after kSpin; at once when a spinning thread would take another's processor.
template <typename Condition>
void ThreadPool::spin_until(Condition condition) const {
  if (!may_spin_ || condition()) return;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (condition()) return;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
}

void ThreadPool::work(int worker) {
  for (int64_t task = next_.fetch_add(1); task < tasks_; task = next_.fetch_add(1)) {
    try {
      (*body_)(task, worker);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_.store(tasks_);
    }
  }
}

void ThreadPool::worker_main(int worker) {
  uint64_t seen = 0;  // loops
  const auto called = [&] { return stop_.load() || gate_.load() / kLoop != seen; };
  while (true) {
    spin_until(called);
    if (!called()) {
      std::unique_lock lock(mutex_);
      ++sleeping_;
      start_.wait(lock, called);
      --sleeping_;
    }
    if (stop_.load()) return;
    uint64_t gate = gate_.load();
    seen = gate / kLoop;
    // A loop that has closed meanwhile was done by the others.
    while ((gate & kOpen) != 0 && gate / kLoop == seen && !gate_.compare_exchange_weak(gate, gate + 1)) {
    }
    if ((gate & kOpen) == 0 || gate / kLoop != seen) continue;
    work(worker);
    const uint64_t left = gate_.fetch_sub(1) - 1;
    if ((left & (kOpen | kRunningMask)) == 0 && caller_sleeps_.load()) {
      const std::lock_guard lock(mutex_);
      done_.notify_one();
    }
  }
}

void ThreadPool::parallel_for(int64_t tasks, FunctionRef<void(int64_t, int)> body) {
  if (tasks <= 0) return;
  if (workers_.empty() || tasks == 1) {
    // No other thread takes part: exceptions pass straight through.
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  const std::lock_guard turn(turn_);
  make_room_for_caller();
  body_ = &body;
  tasks_ = tasks;
  next_.store(0);
  gate_.store((gate_.load() / kLoop + 1) * kLoop + kOpen);
  if (sleeping_.load() > 0) {
    const std::lock_guard lock(mutex_);  // whoever is about to sleep does before the call
    start_.notify_all();
  }
  work(0);
  // Whoever has not come by now is not waited for.
  gate_.fetch_and(~kOpen);
  const auto done = [&] { return (gate_.load() & kRunningMask) == 0; };
  spin_until(done);
  if (!done()) {
    std::unique_lock lock(mutex_);
    caller_sleeps_.store(true);
    done_.wait(lock, done);
    caller_sleeps_.store(false);
  }
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace bamba
