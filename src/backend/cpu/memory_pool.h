// Memory that is taken again soon after it was given back: a server's sequences come and go, and each has the same
// buffers. A state of Bamba-9B is 122 MB in 58 blocks; fresh from the system, its pages alone cost tens of
// milliseconds.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace bamba::backend::cpu {

/// Keeps blocks of at least kLeast bytes that are given back, at most kMost in all and never more than half of what was
/// once in use at a time. Threads may call it at once.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  static constexpr size_t kLeast = size_t{64} << 10;
  static constexpr size_t kMost = size_t{1} << 30;

  ~MemoryPool();
  static std::shared_ptr<MemoryPool> make() { return std::shared_ptr<MemoryPool>(new MemoryPool()); }
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Uninitialised, as allocate_memory() has it. The block gives itself back, and keeps the pool alive until then.
  /// Throws Error(out_of_memory).
  std::shared_ptr<void> take(size_t bytes);
  /// Bytes that wait to be taken.
  size_t kept() const;

 private:
  MemoryPool() = default;
  void give_back(void* memory, size_t bytes);

  mutable std::mutex mutex_;
  std::multimap<size_t, void*> blocks_;  // by their size
  size_t kept_ = 0;
  size_t used_ = 0;
  size_t most_used_ = 0;
};

}  // namespace bamba::backend::cpu
