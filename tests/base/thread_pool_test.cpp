// The thread pool: every task once, errors handed on, short loops without end.
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <set>
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

/// Processors that the calling thread may run on.
std::set<int> own_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  EXPECT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  std::set<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.insert(cpu);
  }
  return cpus;
}

/// own_cpus() of every worker, the caller's first: each takes one task and waits for the others.
std::vector<std::set<int>> cpus_of_workers(ThreadPool& pool) {
  std::vector<std::set<int>> cpus(static_cast<size_t>(pool.size()));
  std::atomic<int> arrived{0};
  pool.parallel_for(pool.size(), [&](int64_t, int worker) {
    cpus[static_cast<size_t>(worker)] = own_cpus();
    ++arrived;
    while (arrived < pool.size()) std::this_thread::yield();
  });
  return cpus;
}

TEST(ThreadPool, WorkersOfAFullPoolHaveAProcessorEach) {
  const std::set<int> all = own_cpus();
  const int count = available_cpus();
  if (count < 2) GTEST_SKIP() << "one processor";
  ThreadPool pool(count);
  // From several threads and more than once: callers move, and workers make room.
  for (int round = 0; round < 20; ++round) {
    std::vector<std::set<int>> cpus;
    std::thread([&] { cpus = cpus_of_workers(pool); }).join();
    EXPECT_EQ(cpus[0], all) << "the caller is never bound";
    std::set<int> taken;
    for (size_t i = 1; i < cpus.size(); ++i) {
      ASSERT_EQ(cpus[i].size(), 1U);
      EXPECT_TRUE(all.contains(*cpus[i].begin()));
      taken.insert(*cpus[i].begin());
    }
    EXPECT_EQ(taken.size(), static_cast<size_t>(count - 1)) << "two workers on one processor";
  }
  EXPECT_EQ(own_cpus(), all);
}

TEST(ThreadPool, WorkersMakeRoomForACallerThatIsBound) {
  if (available_cpus() < 2) GTEST_SKIP() << "one processor";
  ThreadPool pool(0);
  for (const int cpu : own_cpus()) {
    std::vector<std::set<int>> cpus;
    std::thread([&] {
      cpu_set_t mask;
      CPU_ZERO(&mask);
      CPU_SET(cpu, &mask);
      ASSERT_EQ(sched_setaffinity(0, sizeof(mask), &mask), 0);
      cpus = cpus_of_workers(pool);
    }).join();
    for (size_t i = 1; i < cpus.size(); ++i) EXPECT_NE(cpus[i], std::set<int>{cpu});
  }
}

TEST(ThreadPool, OtherPoolsAreNotBound) {
  const std::set<int> all = own_cpus();
  for (const int threads : {available_cpus() - 1, available_cpus() + 1}) {
    if (threads < 2) continue;
    ThreadPool pool(threads);
    for (const auto& cpus : cpus_of_workers(pool)) EXPECT_EQ(cpus, all);
  }
}

}  // namespace
}  // namespace bamba
