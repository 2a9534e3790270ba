// The thread pool: every task once, errors handed on, short loops without end.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace bamba {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads = 1; threads <= 5; ++threads) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(tasks));
      pool.parallel_for(tasks, [&](int64_t task, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        hits[static_cast<size_t>(task)]++;
      });
      for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
    }
  }
}

// Loops in quick succession and loops after a pause: threads that spin, sleep or come too late. No task may be lost,
// run twice or still run when its loop has returned.
TEST(ThreadPool, ManyShortLoops) {
  for (const int threads : {2, 3, 8}) {
    ThreadPool pool(threads);
    std::vector<int64_t> cells(5);
    for (int loop = 1; loop <= 3000; ++loop) {
      pool.parallel_for(5, [&](int64_t task, int) { ++cells[static_cast<size_t>(task)]; });
      for (const int64_t cell : cells) ASSERT_EQ(cell, loop);
      if (loop % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

TEST(ThreadPool, RethrowsAndStaysUsable) {
  ThreadPool pool(3);
  EXPECT_THROW(pool.parallel_for(100,
                                 [](int64_t task, int) {
                                   if (task == 42) throw std::runtime_error("42");
                                 }),
               std::runtime_error);
  std::atomic<int> count{0};
  pool.parallel_for(10, [&](int64_t, int) { ++count; });
  EXPECT_EQ(count.load(), 10);
}

}  // namespace
}  // namespace bamba
