#include "backend/cpu/memory_pool.h"

#include <algorithm>
#include <new>

#include "backend/cpu/memory.h"

namespace bamba::backend::cpu {

MemoryPool::~MemoryPool() {
  for (const auto& [bytes, memory] : blocks_) FreeMemory()(memory);
}

std::shared_ptr<void> MemoryPool::take(size_t bytes) {
  if (bytes < kLeast) return {allocate_memory(bytes), FreeMemory()};
  void* memory = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = blocks_.find(bytes); found != blocks_.end()) {
      memory = found->second;
      blocks_.erase(found);
      kept_ -= bytes;
    }
  }
  if (memory == nullptr) memory = allocate_memory(bytes);
  {
    const std::lock_guard lock(mutex_);
    used_ += bytes;
    most_used_ = std::max(most_used_, used_);
  }
  return {memory, [self = shared_from_this(), bytes](void* given) { self->give_back(given, bytes); }};
}

void MemoryPool::give_back(void* memory, size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    used_ -= bytes;
    if (kept_ + bytes <= std::min(kMost, most_used_ / 2)) {
      try {
        blocks_.emplace(bytes, memory);
        kept_ += bytes;
        return;
      } catch (const std::bad_alloc&) {  // no room to remember it: it is freed
      }
    }
  }
  FreeMemory()(memory);
}

size_t MemoryPool::kept() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

}  // namespace bamba::backend::cpu
