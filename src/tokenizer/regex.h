// Regexes of tokenizer.json, matched by PCRE2 under limits that hold for any pattern and any text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace bamba {

/// What one thread needs to match: buffers, and the budget for expensive matches of the text at hand.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

  /// Call once for each text. Most matches must do with a small step limit; the few that may use the large one are
  /// counted, in proportion to the text's length, so that total work stays bounded for any pattern.
  void start_text(size_t bytes);

 private:
  friend class Regex;
  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
  int64_t expensive_left_ = 0;
};

class Regex {
 public:
  struct Match {
    size_t begin;
    size_t end;
  };

  /// Throws Error(invalid_tokenizer) or Error(unsupported) for patterns that cannot be used.
  explicit Regex(std::string_view pattern);

  /// Leftmost match that starts at or after `from`, in well-formed UTF-8. Throws Error(invalid_argument) when the
  /// step limits are passed.
  bool find(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const;

 private:
  struct Code;
  bool find_slowly(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const;

  std::string pattern_;
  std::shared_ptr<const Code> code_;
};

}  // namespace bamba
