// Cutting a section of text into words, as tokenizer.json's pre_tokenizer says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "base/json.h"
#include "tokenizer/regex.h"

namespace bamba {

/// A word. Its byte i stands at byte max(origin + i, floor) of the section: the floor matters only for a space that
/// add_prefix_space put in front, which counts as part of the character after it.
struct Piece {
  std::string_view text;
  int64_t origin;
  int64_t floor;
};

class PreTokenizer {
 public:
  /// "pre_tokenizer" of a tokenizer.json. Throws Error(unsupported) for kinds that are not byte-level BPE's, by name.
  PreTokenizer(const Json& json, const std::string& origin);

  void split(std::string_view section, RegexScratch& scratch, FunctionRef<void(Piece)> emit) const;

 private:
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  struct Step {
    std::optional<Regex> regex;
    std::string literal;  // looked for where there is no regex; empty: no cut at all
    Behavior behavior = Behavior::isolated;
    bool invert = false;
    bool add_prefix_space = false;
  };
  struct Span {
    size_t begin;
    size_t end;
    bool match;
  };

  void add(const Json& json, const std::string& origin, int depth);
  void add_split(const Json& json, const std::string& origin);
  void run(size_t step, Piece piece, RegexScratch& scratch, FunctionRef<void(Piece)> emit) const;
  static void spans(const Step& step, std::string_view text, RegexScratch& scratch, FunctionRef<void(Span)> emit);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace bamba
