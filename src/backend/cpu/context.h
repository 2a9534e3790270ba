// What every CPU kernel is handed: the threads, and scratch memory of its own for each of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "base/thread_pool.h"

namespace bamba::backend::cpu {

/// Grow-only aligned memory of one worker. After the first pass of a given size nothing is allocated any more.
class Scratch {
 public:
  /// At least `count` floats, aligned to 64 bytes, with whatever was in them before.
  float* floats(int64_t count) {
    if (count > capacity_) {
      memory_.reset(static_cast<float*>(::operator new(static_cast<size_t>(count) * sizeof(float), kAlignment)));
      capacity_ = count;
    }
    return memory_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<float, Free> memory_;
  int64_t capacity_ = 0;
};

struct Context {
  explicit Context(int threads) : pool(threads), scratch(static_cast<size_t>(pool.size())) {}

  /// Runs body(task, scratch of the worker) for each task. `work` estimates the multiply-adds of the whole loop:
  /// below what a hand-over to other threads costs (some 10 us), the caller does it alone.
  template <typename Body>
  void parallel(int64_t tasks, int64_t work, Body body) {
    constexpr int64_t kWorthWaking = 200'000;
    if (work < kWorthWaking || tasks == 1) {
      for (int64_t task = 0; task < tasks; ++task) body(task, scratch[0]);
    } else {
      pool.parallel_for(tasks, [&](int64_t task, int worker) { body(task, scratch[static_cast<size_t>(worker)]); });
    }
  }

  ThreadPool pool;
  std::vector<Scratch> scratch;
  Scratch shared;  ///< for tables that all workers read
};

}  // namespace bamba::backend::cpu
