// A fixed set of threads for parallel loops. The calling thread works too, so a pool of 1 has no thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace bamba {

/// Processors this process may run on (its affinity mask), at least 1.
int available_cpus();

/// When a pool takes all processors of the process, each worker is bound to one of them, so that the scheduler cannot
/// put two threads of a loop on one processor while another idles. The calling thread belongs to whoever called and is
/// never bound: the workers make room for it, wherever it runs when a loop begins. A pool that leaves processors free
/// or has more threads than there are is not bound. The processors are those of the affinity mask that the constructor
/// finds; one that is changed later does not move the workers.
class ThreadPool {
 public:
  /// threads <= 0: available_cpus().
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Runs body(task, worker) for task = 0..tasks-1, each once, on any worker in [0, size()); returns when all are
  /// done. Tasks are handed out one by one: which worker gets which is not fixed, so results must not depend on it.
  /// The first exception of a body is rethrown here. Calls from several threads take turns; a body must not start
  /// another loop on the same pool.
  void parallel_for(int64_t tasks, FunctionRef<void(int64_t task, int worker)> body);

 private:
  void bind_workers();
  void make_room_for_caller();
  void worker_main(int worker);
  void work(int worker);
  /// What many threads change or watch, in another cache line than the next. (Not aligned to one, so that neither the
  /// pool nor what holds it is.)
  template <typename T>
  struct Apart : std::atomic<T> {
    using std::atomic<T>::operator=;
    std::byte distance[64 - sizeof(std::atomic<T>)];
  };

  template <typename Condition>
  void spin_until(Condition condition) const;

  std::vector<std::thread> workers_;
  std::mutex turn_;  // one loop at a time
  bool may_spin_;    // every thread can have a processor of its own

  // Under turn_. Empty when the workers are not bound.
  std::vector<int> worker_cpus_;
  int free_cpu_ = -1;  // of the process's, where no worker is

  std::atomic<bool> stop_{false};
  // Those who have spun long enough sleep, and say so before they look at the gate for the last time.
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<int> sleeping_{0};
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  std::exception_ptr error_;  // under mutex_

  // What a loop is: written before it opens, and left alone until nobody is inside.
  const FunctionRef<void(int64_t, int)>* body_ = nullptr;
  int64_t tasks_ = 0;

  // A loop begins and ends through one word that workers watch as they spin: no lock, for which they would queue. It
  // holds the number of workers inside, kOpen while the loop takes workers in, and kLoop times the loops begun.
  static constexpr uint64_t kOpen = uint64_t{1} << 16;
  static constexpr uint64_t kLoop = uint64_t{1} << 17;
  static constexpr uint64_t kRunningMask = kOpen - 1;
  Apart<uint64_t> gate_;
  Apart<int64_t> next_;  // task
};

}  // namespace bamba
