#include "constraint/token_tree.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/str.h"

namespace bamba {
namespace {

/// Longer tokens (there are none that matter) stand for no text: they are never allowed.
constexpr size_t kMaxTokenBytes = 4096;
/// Masks are of this size: ids past any real vocabulary are a mistake.
constexpr int64_t kMaxId = int64_t{1} << 24;

TokenTree make_tree(const std::vector<std::string>& bytes) {
  std::vector<uint32_t> ids;
  for (uint32_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id].empty()) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) {
    const int order = bytes[a].compare(bytes[b]);
    return order != 0 ? order < 0 : a < b;
  });

  TokenTree tree;
  std::vector<uint32_t> path;  // nodes from the root to the last token's
  const auto add_node = [&](char byte) {
    path.push_back(static_cast<uint32_t>(tree.byte.size()));
    tree.byte.push_back(static_cast<uint8_t>(byte));
    tree.depth.push_back(static_cast<uint16_t>(path.size() - 1));
    tree.end.push_back(0);
    tree.first_token.push_back(static_cast<uint32_t>(tree.tokens.size()));
  };
  const auto leave = [&](size_t depth) {
    while (path.size() > depth + 1) {
      tree.end[path.back()] = static_cast<uint32_t>(tree.byte.size());
      path.pop_back();
    }
  };
  add_node('\0');
  const std::string* last = nullptr;
  for (const uint32_t id : ids) {
    const std::string& token = bytes[id];
    size_t shared = 0;
    while (last != nullptr && shared < last->size() && shared < token.size() && (*last)[shared] == token[shared]) {
      ++shared;
    }
    leave(shared);
    for (size_t i = shared; i < token.size(); ++i) add_node(token[i]);
    tree.tokens.push_back(id);
    tree.max_depth = std::max(tree.max_depth, static_cast<uint16_t>(token.size()));
    last = &token;
  }
  leave(0);
  tree.end[0] = static_cast<uint32_t>(tree.byte.size());
  tree.first_token.push_back(static_cast<uint32_t>(tree.tokens.size()));
  return tree;
}

std::vector<std::string> bytes_of(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes(static_cast<size_t>(tokenizer.vocab_size()));
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(id)) bytes[static_cast<size_t>(id)] = tokenizer.id_to_bytes(id);
  }
  return bytes;
}

}  // namespace

TokenVocabulary::Impl::Impl(std::vector<std::string> token_bytes, std::span<const int64_t> eos_token_ids)
    : bytes(std::move(token_bytes)),
      eos(eos_token_ids.begin(), eos_token_ids.end()),
      size(static_cast<int64_t>(bytes.size())) {
  std::sort(eos.begin(), eos.end());
  for (const int64_t id : eos) {
    if (id < 0 || id > kMaxId) {
      fail(ErrorCode::invalid_argument, "the end-of-text token ", id, " is not a token id; ids run from 0 to ", kMaxId);
    }
    // A token that ends the text is no part of it, even where it has a text of its own.
    if (id < size) bytes[static_cast<size_t>(id)].clear();
  }
  if (!eos.empty()) size = std::max(size, eos.back() + 1);
  for (std::string& token : bytes) {
    if (token.size() > kMaxTokenBytes) token.clear();
    if (token.size() == 1) single_bytes.set(static_cast<uint8_t>(token[0]));
  }
  tree = make_tree(bytes);
}

bool TokenVocabulary::Impl::is_eos(int64_t id) const {
  return std::binary_search(eos.begin(), eos.end(), id);
}

TokenVocabulary::TokenVocabulary(const Tokenizer& tokenizer, std::span<const int64_t> eos_token_ids)
    : impl_(std::make_shared<const Impl>(bytes_of(tokenizer), eos_token_ids)) {}

TokenVocabulary::TokenVocabulary(std::span<const std::string> token_bytes, std::span<const int64_t> eos_token_ids)
    : impl_(std::make_shared<const Impl>(std::vector<std::string>(token_bytes.begin(), token_bytes.end()),
                                         eos_token_ids)) {}

int64_t TokenVocabulary::size() const {
  return impl_->size;
}
std::span<const int64_t> TokenVocabulary::eos_token_ids() const {
  return impl_->eos;
}

int64_t TokenMask::count() const {
  int64_t count = 0;
  for (const uint64_t word : words_) count += std::popcount(word);
  return count;
}

void TokenMask::apply(std::span<float> scores) const {
  constexpr float kForbidden = -std::numeric_limits<float>::infinity();
  for (size_t word = 0; word * 64 < scores.size(); ++word) {
    const uint64_t bits = word < words_.size() ? words_[word] : 0;
    if (bits == UINT64_MAX) continue;
    const size_t end = std::min(scores.size(), word * 64 + 64);
    for (size_t id = word * 64; id < end; ++id) {
      if ((bits >> (id % 64) & 1) == 0) scores[id] = kForbidden;
    }
  }
}

}  // namespace bamba
