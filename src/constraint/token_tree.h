// The vocabulary as a tree of bytes, laid out in the order of a walk, so that walking it is a loop over arrays.
#pragma once

#include <bamba/constraint.h>

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bamba {

/// Node 0 is the root. A node's descendants are the nodes after it up to its end.
struct TokenTree {
  std::vector<uint8_t> byte;          ///< [node] that leads here from its parent
  std::vector<uint16_t> depth;        ///< [node] bytes from the root
  std::vector<uint32_t> end;          ///< [node] one past its last descendant
  std::vector<uint32_t> first_token;  ///< [node + 1] into tokens; a node's run to the next node's first
  std::vector<uint32_t> tokens;       ///< ids, in the order of their nodes
  uint16_t max_depth = 0;
};

struct TokenVocabulary::Impl {
  /// Bytes of each id; empty for tokens that stand for no text.
  Impl(std::vector<std::string> token_bytes, std::span<const int64_t> eos_token_ids);

  std::vector<std::string> bytes;  ///< [id]
  std::vector<int64_t> eos;        ///< sorted
  std::bitset<256> single_bytes;   ///< bytes that are a token
  int64_t size = 0;
  TokenTree tree;

  bool is_eos(int64_t id) const;
};

}  // namespace bamba
