// A small direct-mapped cache of encoded words: natural text repeats few words often. One a thread, of fixed size.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace bamba {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 21;
  static constexpr size_t kMaxIds = 8;

  struct Entry {
    uint64_t hash = 0;
    char word[kMaxBytes] = {};
    uint8_t bytes = 0;  // 0: free (no word is empty)
    uint8_t ids = 0;
    uint32_t id[kMaxIds] = {};
  };

  WordCache() : entries_(kEntries) {}

  /// nullptr when the word is not there.
  const Entry* find(std::string_view word, uint64_t hash) const {
    const Entry& entry = entries_[hash >> 16 & (kEntries - 1)];
    const bool same =
        entry.hash == hash && entry.bytes == word.size() && !std::memcmp(entry.word, word.data(), word.size());
    return same ? &entry : nullptr;
  }
  void store(std::string_view word, uint64_t hash, std::span<const int64_t> ids) {
    if (word.size() > kMaxBytes || ids.size() > kMaxIds) return;
    Entry& entry = entries_[hash >> 16 & (kEntries - 1)];
    entry.hash = hash;
    std::memcpy(entry.word, word.data(), word.size());
    entry.bytes = static_cast<uint8_t>(word.size());
    entry.ids = static_cast<uint8_t>(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) entry.id[i] = static_cast<uint32_t>(ids[i]);
  }

 private:
  static constexpr size_t kEntries = size_t{1} << 14;
  std::vector<Entry> entries_;
};

}  // namespace bamba
