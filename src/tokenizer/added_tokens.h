// Added tokens are found in the raw text before anything else cuts it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/regex.h"

namespace bamba {

struct AddedToken {
  std::string content;
  uint32_t id = 0;
  bool single_word = false;  ///< only between non-word characters
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;
  bool normalized = true;  ///< looked for in a second pass, in what the others left
  bool special = false;
};

/// A stretch of text: an added token, or (without id) text between them.
struct TextSection {
  size_t begin;
  size_t end;
  std::optional<uint32_t> id;
};

/// Finds the longest token at the leftmost place, again and again.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  /// Cuts text[begin, end) into sections appended to `out`.
  void split(std::string_view text, size_t begin, size_t end, RegexScratch& scratch,
             std::vector<TextSection>& out) const;

 private:
  struct Node {
    int32_t token = -1;
  };
  const AddedToken* longest_at(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> edges_;  // node << 8 | byte -> node
  std::array<bool, 256> starts_{};
  std::optional<Regex> word_;  // compiled only where a single_word token needs it
};

}  // namespace bamba
