// A cache bounded by bytes that forgets what was used longest ago.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

namespace bamba {

template <typename Value>
class LruCache {
 public:
  explicit LruCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  /// Null where there is none; good until the next put().
  const Value* find(uint64_t key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->value;
  }
  /// The key must be new. The value stays at least until the next put(), however large it is.
  const Value& put(uint64_t key, Value value, size_t bytes) {
    while (!entries_.empty() && bytes_ + bytes > max_bytes_) {
      bytes_ -= entries_.back().bytes;
      places_.erase(entries_.back().key);
      entries_.pop_back();
    }
    entries_.push_front({key, std::move(value), bytes});
    places_.emplace(key, entries_.begin());
    bytes_ += bytes;
    return entries_.front().value;
  }
  void clear() {
    entries_.clear();
    places_.clear();
    bytes_ = 0;
  }
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    uint64_t key;
    Value value;
    size_t bytes;
  };
  size_t max_bytes_;
  size_t bytes_ = 0;
  std::list<Entry> entries_;  // last used first
  std::unordered_map<uint64_t, typename std::list<Entry>::iterator> places_;
};

}  // namespace bamba
