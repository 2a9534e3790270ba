#include "tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "base/str.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr uint32_t kNoRank = UINT32_MAX;
// Below this many symbols, looking at all pairs for the best one is faster than keeping a heap.
constexpr size_t kScanLimit = 48;

}  // namespace

Bpe::Bpe(const std::vector<std::pair<std::string, uint32_t>>& vocab,
         const std::vector<std::pair<std::string, std::string>>& merges, Options options, const std::string& origin)
    : options_(std::move(options)), table_(vocab.size()), merges_(merges.size()) {
  StringTable names(vocab.size());
  std::unordered_set<uint32_t> seen;
  seen.reserve(vocab.size());
  byte_strings_.reserve(vocab.size());  // keeps the views in table_ valid
  for (const auto& [token, id] : vocab) {
    if (names.insert(token, id) != StringTable::kNone) {
      fail(ErrorCode::invalid_tokenizer, origin, ": model.vocab lists the token \"", token, "\" twice");
    }
    if (!seen.insert(id).second) {
      fail(ErrorCode::invalid_tokenizer, origin, ": model.vocab gives the id ", id, " to \"", token,
           "\" and to another token");
    }
    if (auto bytes = byte_level_bytes(token)) {
      byte_strings_.push_back(std::move(*bytes));
      table_.insert(byte_strings_.back(), id);
    }
  }
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined = left;
    joined += right;
    const uint32_t ids[] = {names.find(left), names.find(right), names.find(joined)};
    const std::string* parts[] = {&left, &right, &joined};
    for (int i = 0; i < 3; ++i) {
      if (ids[i] != StringTable::kNone) continue;
      fail(ErrorCode::invalid_tokenizer, origin, ": model.merges entry ", rank, " (\"", left, "\", \"", right,
           "\") needs the token \"", *parts[i], "\", which model.vocab lacks");
    }
    merges_.insert(ids[0], ids[1], {static_cast<uint32_t>(rank), ids[2]});
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string name;
    utf8_append(name, byte_level_character(static_cast<unsigned char>(byte)));
    byte_ids_[byte] = names.find(name);
    all_bytes_known_ = all_bytes_known_ && byte_ids_[byte] != StringTable::kNone;
  }
  if (options_.byte_fallback && !all_bytes_known_) {
    fail(ErrorCode::unsupported, origin, ": byte_fallback is only supported where model.vocab holds all 256 bytes");
  }
  if (options_.unk_token) {
    unk_id_ = names.find(*options_.unk_token);
    if (unk_id_ == StringTable::kNone) {
      fail(ErrorCode::invalid_tokenizer, origin, ": model.unk_token is \"", *options_.unk_token,
           "\", which model.vocab lacks");
    }
  }
}

void Bpe::encode(std::string_view word, BpeScratch& scratch, std::vector<int64_t>& ids) const {
  const uint64_t hash = hash_bytes(word);
  if (options_.ignore_merges) {
    if (const uint32_t id = table_.find(word, hash); id != StringTable::kNone) {
      ids.push_back(id);
      return;
    }
  }
  if (const WordCache::Entry* known = scratch.cache.find(word, hash)) {
    ids.insert(ids.end(), known->id, known->id + known->ids);
    return;
  }
  merge_word(word, scratch);
  const size_t before = ids.size();
  for (const WordToken& token : scratch.tokens) ids.push_back(token.id);
  scratch.cache.store(word, hash, std::span(ids).subspan(before));
}

const std::vector<WordToken>& Bpe::encode_with_spans(std::string_view word, BpeScratch& scratch) const {
  if (options_.ignore_merges) {
    if (const uint32_t id = table_.find(word); id != StringTable::kNone) {
      scratch.tokens.assign(1, {id, 0, static_cast<uint32_t>(word.size())});
      return scratch.tokens;
    }
  }
  merge_word(word, scratch);
  return scratch.tokens;
}

void Bpe::merge_word(std::string_view word, BpeScratch& scratch) const {
  first_symbols(word, scratch);
  auto& symbols = scratch.symbols;
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i + 1) : -1;
    symbols[i].merge = i + 1 < symbols.size() ? merges_.find(symbols[i].id, symbols[i + 1].id) : MergeTable::Merge{};
  }
  if (symbols.size() <= kScanLimit) {
    merge_by_scanning(scratch);
  } else {
    merge_by_heap(scratch);
  }
  scratch.tokens.clear();
  for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[at].next) {
    scratch.tokens.push_back({symbols[at].id, symbols[at].begin, symbols[at].length});
  }
}

/// Bytes without a token of their own become unk where the file names one, and else vanish.
void Bpe::first_symbols(std::string_view word, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  bool after_unk = false;
  for (size_t i = 0; i < word.size(); ++i) {
    uint32_t id = byte_ids_[static_cast<unsigned char>(word[i])];
    const bool known = id != StringTable::kNone;
    if (!known && unk_id_ == StringTable::kNone) continue;
    if (!known && options_.fuse_unk && after_unk) {
      symbols.back().length = static_cast<uint32_t>(i + 1 - symbols.back().begin);
      continue;
    }
    if (!known) id = unk_id_;
    after_unk = !known;
    symbols.push_back({id, static_cast<uint32_t>(i), 1, -1, -1, {}});
  }
}

void Bpe::apply_merge(BpeScratch& scratch, int32_t at) const {
  auto& symbols = scratch.symbols;
  BpeScratch::Symbol& left = symbols[at];
  BpeScratch::Symbol& right = symbols[left.next];
  left.id = left.merge.id;
  left.length = right.begin + right.length - left.begin;
  right.length = 0;
  left.next = right.next;
  if (left.next >= 0) symbols[left.next].previous = at;
  left.merge = left.next >= 0 ? merges_.find(left.id, symbols[left.next].id) : MergeTable::Merge{};
  if (left.previous >= 0) symbols[left.previous].merge = merges_.find(symbols[left.previous].id, left.id);
}

void Bpe::merge_by_scanning(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  if (symbols.empty()) return;
  for (;;) {
    int32_t best = 0;
    for (int32_t at = symbols[0].next; at >= 0; at = symbols[at].next) {
      if (symbols[at].merge.rank < symbols[best].merge.rank) best = at;
    }
    if (symbols[best].merge.rank == kNoRank) return;
    apply_merge(scratch, best);
  }
}

/// The heap holds each pair that came to be, best rank first, then leftmost. A pair that has changed since is skipped
/// when it comes up, so each of the n - 1 possible merges costs at most two pushes.
void Bpe::merge_by_heap(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  constexpr std::greater<> kSmallestFirst;
  const auto entry = [&](int32_t at) {
    return std::pair{uint64_t{symbols[at].merge.rank} << 32 | static_cast<uint32_t>(at), symbols[at].merge.id};
  };
  heap.clear();
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].merge.rank != kNoRank) heap.push_back(entry(static_cast<int32_t>(i)));
  }
  std::make_heap(heap.begin(), heap.end(), kSmallestFirst);
  const auto push = [&](int32_t at) {
    if (at < 0 || symbols[at].merge.rank == kNoRank) return;
    heap.push_back(entry(at));
    std::push_heap(heap.begin(), heap.end(), kSmallestFirst);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), kSmallestFirst);
    const uint64_t key = heap.back().first;
    heap.pop_back();
    const auto at = static_cast<int32_t>(key & UINT32_MAX);
    if (symbols[at].length == 0 || symbols[at].merge.rank != key >> 32) continue;
    apply_merge(scratch, at);
    push(at);
    push(symbols[at].previous);
  }
}

}  // namespace bamba
