// The text of a tokenizer.json, read in one pass: the two parts with 10^5 entries go to flat lists, the rest to Json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace bamba {

// NOLINTNEXTLINE(bugprone-exception-escape): nlohmann's destructor may allocate to flatten deep values
struct TokenizerJson {
  Json rest;  ///< everything but model.vocab and model.merges
  bool has_vocab = false;
  bool has_merges = false;
  std::vector<std::pair<std::string, uint32_t>> vocab;  ///< ids below 2^31
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Throws Error(invalid_tokenizer) naming `origin`: bad JSON or UTF-8, nesting past 64 levels, a key twice in one
/// object, a vocab that is no map to ids, merges that are no pairs. (Tokens listed twice are the caller's to find.)
TokenizerJson read_tokenizer_json(std::string_view text, const std::string& origin);
/// The same reader for tokenizer_config.json and its like.
Json read_side_json(std::string_view text, const std::string& origin);

}  // namespace bamba
