#include "backend/cpu/memory_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "backend/backend.h"

namespace bamba::backend {
namespace {

using cpu::MemoryPool;

constexpr size_t kBlock = size_t{1} << 20;

TEST(MemoryPool, GivesABlockAgainToWhoAsksForItsSize) {
  const auto pool = MemoryPool::make();
  std::shared_ptr<void> first = pool->take(kBlock);
  std::shared_ptr<void> second = pool->take(kBlock);
  const void* address = second.get();
  second.reset();
  EXPECT_EQ(pool->kept(), kBlock);
  EXPECT_NE(pool->take(kBlock - 64).get(), address);
  EXPECT_EQ(pool->take(kBlock).get(), address);
}

TEST(MemoryPool, KeepsHalfOfWhatWasInUseAtMost) {
  const auto pool = MemoryPool::make();
  std::vector<std::shared_ptr<void>> blocks;
  for (int i = 0; i < 7; ++i) blocks.push_back(pool->take(kBlock));
  blocks.clear();
  EXPECT_EQ(pool->kept(), 3 * kBlock);
  pool->take(kBlock).reset();
  EXPECT_EQ(pool->kept(), 3 * kBlock);
}

TEST(MemoryPool, SmallBlocksAreNotKept) {
  const auto pool = MemoryPool::make();
  const std::shared_ptr<void> large = pool->take(kBlock);
  pool->take(MemoryPool::kLeast - 1).reset();
  EXPECT_EQ(pool->kept(), 0U);
}

TEST(MemoryPool, BlocksOutliveWhoeverMadeThePool) {
  auto pool = MemoryPool::make();
  const std::shared_ptr<void> block = pool->take(kBlock);
  pool.reset();
  std::memset(block.get(), 1, kBlock);
}

TEST(MemoryPool, ThreadsTakeAndGiveAtOnce) {
  const auto pool = MemoryPool::make();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const std::shared_ptr<void> block = pool->take(kBlock >> (i % 3));
        auto* bytes = static_cast<unsigned char*>(block.get());
        bytes[0] = static_cast<unsigned char>(t);
        ASSERT_EQ(bytes[0], t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(pool->kept(), 2 * kBlock);
}

// A sequence's state begins with zeros, whatever was where it lies.
TEST(MemoryPool, BuffersBeginWithZeros) {
  const auto device = make_cpu_backend(1);
  const Buffer held = device->allocate(kBlock);
  const float* address = nullptr;
  {
    const Buffer used = device->allocate(kBlock);
    address = used.floats();
    std::memset(used.floats(), 0x7F, kBlock);
  }
  const Buffer again = device->allocate(kBlock);
  EXPECT_EQ(again.floats(), address);
  for (size_t i = 0; i < kBlock / sizeof(float); ++i) ASSERT_EQ(again.floats()[i], 0.0f) << i;
}

}  // namespace
}  // namespace bamba::backend
