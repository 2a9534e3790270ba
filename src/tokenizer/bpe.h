// Byte-pair encoding over bytes: a word becomes its bytes' tokens, then the best-ranked pair merges until none is left.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/string_table.h"
#include "tokenizer/word_cache.h"

namespace bamba {

/// One token of a word, with the bytes it stands for.
struct WordToken {
  uint32_t id;
  uint32_t begin;
  uint32_t length;
};

/// Buffers of one thread.
struct BpeScratch {
  struct Symbol {
    uint32_t id;
    uint32_t begin;
    uint32_t length;  // 0: merged into an earlier one
    int32_t previous;
    int32_t next;
    MergeTable::Merge merge;  // with the next symbol
  };
  std::vector<Symbol> symbols;
  std::vector<std::pair<uint64_t, uint32_t>> heap;  // (rank << 32 | position, merged id)
  std::vector<WordToken> tokens;
  WordCache cache;
};

class Bpe {
 public:
  struct Options {
    std::optional<std::string> unk_token;
    bool fuse_unk = false;
    bool ignore_merges = false;
    bool byte_fallback = false;
  };

  /// Throws Error(invalid_tokenizer) naming `origin`: a token or an id twice, a merge of unknown tokens or to one.
  Bpe(const std::vector<std::pair<std::string, uint32_t>>& vocab,
      const std::vector<std::pair<std::string, std::string>>& merges, Options options, const std::string& origin);
  Bpe(const Bpe&) = delete;
  Bpe& operator=(const Bpe&) = delete;

  /// Appends the word's ids. Work grows as n log n in its bytes.
  void encode(std::string_view word, BpeScratch& scratch, std::vector<int64_t>& ids) const;
  /// The same with positions; the result lives in the scratch until the next call.
  const std::vector<WordToken>& encode_with_spans(std::string_view word, BpeScratch& scratch) const;

 private:
  void merge_word(std::string_view word, BpeScratch& scratch) const;
  void first_symbols(std::string_view word, BpeScratch& scratch) const;
  void merge_by_scanning(BpeScratch& scratch) const;
  void merge_by_heap(BpeScratch& scratch) const;
  void apply_merge(BpeScratch& scratch, int32_t at) const;

  Options options_;
  std::vector<std::string> byte_strings_;  // what table_'s keys point into
  StringTable table_;                      // byte string -> id
  MergeTable merges_;
  std::array<uint32_t, 256> byte_ids_{};
  bool all_bytes_known_ = true;
  uint32_t unk_id_ = StringTable::kNone;
};

}  // namespace bamba
