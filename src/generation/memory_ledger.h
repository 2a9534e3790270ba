// How much memory a set of states takes together: what forks share counts once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "generation/step_model.h"

namespace bamba {

/// States are added and removed as they are: one that has gone on in between refers to other memory than was added.
class MemoryLedger {
 public:
  void add(const StepState& state) {
    state.visit_memory([this](const void* address, size_t bytes) {
      if (owners_[address]++ == 0) bytes_ += bytes;
    });
  }
  void remove(const StepState& state) {
    state.visit_memory([this](const void* address, size_t bytes) {
      const auto found = owners_.find(address);
      if (--found->second > 0) return;
      owners_.erase(found);
      bytes_ -= bytes;
    });
  }
  void clear() {
    owners_.clear();
    bytes_ = 0;
  }
  size_t bytes() const { return bytes_; }
  /// Bytes that add() would add.
  size_t missing(const StepState& state) const {
    size_t total = 0;
    state.visit_memory([&](const void* address, size_t bytes) { total += owners_.contains(address) ? 0 : bytes; });
    return total;
  }

 private:
  std::unordered_map<const void*, uint64_t> owners_;
  size_t bytes_ = 0;
};

}  // namespace bamba
