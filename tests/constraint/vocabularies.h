// Vocabularies to test with, and random texts that a constraint allows.
#pragma once

#include <bamba/constraint.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "constraint/token_tree.h"
#include "support/golden_path.h"

namespace bamba::test {

/// 256 bytes, then some words of several bytes, one of them twice; the last id ends a text.
inline TokenVocabulary small_vocabulary() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* word : {"ab",
                           "abc",
                           "aab",
                           "ba",
                           "bb",
                           "\xC3\xA9",
                           "\xC3\xA9"
                           "a",
                           "a\xC3",
                           "\xA9"
                           "b",
                           "\xE6\x97",
                           "\x97\xA5",
                           "\xE6\x97\xA5",
                           "12",
                           "00",
                           "\"",
                           "\",",
                           "\": ",
                           "{\"",
                           "\"}",
                           "}}",
                           "[[",
                           "],",
                           ", ",
                           "true",
                           "null",
                           "\n  ",
                           "ab",
                           "",
                           "\\u",
                           "\\\"",
                           "-1",
                           "0.5",
                           "e+"}) {
    tokens.emplace_back(word);
  }
  tokens.emplace_back();
  const int64_t eos = static_cast<int64_t>(tokens.size()) - 1;
  return TokenVocabulary(tokens, std::span(&eos, 1));
}

/// The same, made once.
inline const TokenVocabulary& vocabulary() {
  static const TokenVocabulary made = small_vocabulary();
  return made;
}

inline Constraint schema(std::string_view text) {
  return Constraint::json_schema(text, vocabulary());
}

/// 4,096 tokens of byte-level BPE.
inline TokenVocabulary golden_vocabulary() {
  const Tokenizer tokenizer = Tokenizer::from_pretrained(golden_path("tokenizer-llama3"));
  const int64_t eos = tokenizer.eos_token_id().value();
  return TokenVocabulary(tokenizer, std::span(&eos, 1));
}

inline std::string token_text(const TokenVocabulary& vocabulary, int64_t id) {
  return vocabulary.impl().bytes.at(static_cast<size_t>(id));
}

/// Tokens chosen evenly among the allowed ones; past `length` tokens, those that end JSON soonest are preferred. Checks
/// on the way that there always is a token, and that it is accepted. Nothing when a walk at random finds no end.
inline std::optional<std::string> random_text(const Constraint& constraint, std::mt19937& random, int length) {
  const TokenVocabulary& vocabulary = constraint.vocabulary();
  ConstraintState state(constraint);
  std::string text;
  for (int step = 0; step < 4 * length + 1000; ++step) {
    const auto mask = state.mask();
    std::vector<int64_t> allowed;
    for (int64_t id = 0; id < mask->size(); ++id) {
      if (mask->allows(id)) allowed.push_back(id);
    }
    if (allowed.empty()) {
      ADD_FAILURE() << "no token may follow " << text;
      return {};
    }
    int64_t id = allowed[random() % allowed.size()];
    if (state.can_end() && (step >= length || random() % 8 == 0)) {
      id = vocabulary.eos_token_ids()[0];
    } else if (step >= length && random() % 2 == 0) {
      // The first of these that may come.
      size_t best = 5;
      const std::array<std::string, 5> closing = {"\"", "}", "]", "\\", ":"};
      for (const int64_t candidate : allowed) {
        const auto found = std::ranges::find(closing, token_text(vocabulary, candidate));
        const auto rank = static_cast<size_t>(found - closing.begin());
        if (rank < best) {
          best = rank;
          id = candidate;
        }
      }
    }
    if (!state.accept(id)) {
      ADD_FAILURE() << text << " + " << id;
      return {};
    }
    if (state.finished()) return text;
    text += token_text(vocabulary, id);
  }
  return {};
}

/// The tokens that accept() takes, one by one.
inline std::vector<int64_t> allowed_by_trying(const ConstraintState& state, int64_t size) {
  std::vector<int64_t> out;
  for (int64_t id = 0; id < size; ++id) {
    ConstraintState copy = state;
    if (copy.accept(id)) out.push_back(id);
  }
  return out;
}

inline std::vector<int64_t> allowed_by_mask(const TokenMask& mask) {
  std::vector<int64_t> out;
  for (int64_t id = 0; id < mask.size(); ++id) {
    if (mask.allows(id)) out.push_back(id);
  }
  return out;
}

}  // namespace bamba::test
