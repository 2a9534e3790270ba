// What every CPU kernel is handed: the threads, and scratch memory of its own for each of them.
#pragma once

#include <bamba/activation_format.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/cpu/flush_subnormals.h"
#include "backend/cpu/memory.h"
#include "base/thread_pool.h"

namespace bamba::backend::cpu {

/// Grow-only aligned memory of one worker. After the first pass of a given size nothing is allocated any more.
class Scratch {
 public:
  /// At least `count` floats, aligned to 64 bytes, with whatever was in them before.
  float* floats(int64_t count) {
    if (count > capacity_) {
      memory_.reset();  // before the new one is there: never both
      capacity_ = 0;
      memory_.reset(static_cast<float*>(allocate_memory(static_cast<size_t>(count) * sizeof(float))));
      capacity_ = count;
    }
    return memory_.get();
  }

 private:
  std::unique_ptr<float, FreeMemory> memory_;
  int64_t capacity_ = 0;
};

struct Context {
  Context(int threads, ActivationFormat format)
      : pool(threads), scratch(static_cast<size_t>(pool.size())), activations(format) {}

  /// Runs body(task, scratch of the worker) for each task. `work` estimates the multiply-adds of the whole loop:
  /// below what a hand-over to other threads is worth (some 10 us of work), the caller does it alone. Subnormal numbers
  /// are zeros in the body.
  template <typename Body>
  void parallel(int64_t tasks, int64_t work, Body body) {
    parallel_exact(tasks, work, [&](int64_t task, Scratch& own) {
      const FlushSubnormals flush;
      body(task, own);
    });
  }

  /// The same for conversions, which keep subnormal numbers.
  template <typename Body>
  void parallel_exact(int64_t tasks, int64_t work, Body body) {
    constexpr int64_t kWorthWaking = 400'000;
    if (work < kWorthWaking || tasks == 1) {
      for (int64_t task = 0; task < tasks; ++task) body(task, scratch[0]);
    } else {
      pool.parallel_for(tasks, [&](int64_t task, int worker) { body(task, scratch[static_cast<size_t>(worker)]); });
    }
  }

  ThreadPool pool;
  std::vector<Scratch> scratch;
  Scratch shared;                ///< for tables that all workers read
  ActivationFormat activations;  ///< of products with bf16 weights
};

}  // namespace bamba::backend::cpu
