// Hash tables made for the encoder's inner loop: flat, filled once, read by many threads.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace bamba {

inline uint64_t mix_hash(uint64_t value) {
  value *= 0x9E3779B97F4A7C15U;
  return value ^ value >> 32;
}

inline uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = bytes.size();
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    hash = mix_hash(hash ^ word);
  }
  uint64_t word = 0;
  std::memcpy(&word, at, left);
  return mix_hash(mix_hash(hash ^ word));
}

/// byte string -> id, over views that the caller keeps alive.
class StringTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit StringTable(size_t entries = 0)
      : slots_(std::bit_ceil(entries * 2 + 8)), mask_(static_cast<uint32_t>(slots_.size() - 1)) {}

  /// At most `entries` insertions. Returns the id already there, or kNone when the key is new.
  uint32_t insert(std::string_view key, uint32_t id) {
    const uint64_t hash = hash_bytes(key);
    for (uint64_t i = hash & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.id == kNone) {
        slot = {key, static_cast<uint32_t>(hash >> 32), id};
        return kNone;
      }
      if (slot.tag == static_cast<uint32_t>(hash >> 32) && slot.key == key) return slot.id;
    }
  }
  uint32_t find(std::string_view key) const { return find(key, hash_bytes(key)); }
  uint32_t find(std::string_view key, uint64_t hash) const {
    for (uint64_t i = hash & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.id == kNone) return kNone;
      if (slot.tag == static_cast<uint32_t>(hash >> 32) && slot.key == key) return slot.id;
    }
  }

 private:
  struct Slot {
    std::string_view key;
    uint32_t tag = 0;
    uint32_t id = kNone;
  };
  std::vector<Slot> slots_;
  uint32_t mask_;
};

/// (left id, right id) -> (rank, merged id).
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = UINT32_MAX;  ///< UINT32_MAX: the pair does not merge
    uint32_t id = 0;
  };

  explicit MergeTable(size_t entries = 0)
      : slots_(std::bit_ceil(entries * 2 + 8)), mask_(static_cast<uint32_t>(slots_.size() - 1)) {}

  /// A pair listed twice keeps its last rank.
  void insert(uint32_t left, uint32_t right, Merge merge) {
    const uint64_t key = uint64_t{left} << 32 | right;
    uint64_t i = mix_hash(key) & mask_;
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask_;
    slots_[i] = {key, merge};
  }
  Merge find(uint32_t left, uint32_t right) const {
    const uint64_t key = uint64_t{left} << 32 | right;
    for (uint64_t i = mix_hash(key) & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kEmpty) return {};
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;  // ids stay below 2^31, so no pair has this key
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  std::vector<Slot> slots_;
  uint32_t mask_;
};

}  // namespace bamba
