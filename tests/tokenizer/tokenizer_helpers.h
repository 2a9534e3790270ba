// What the tokenizer's tests share.
#pragma once

#include <bamba/tokenizer.h>

#include <random>
#include <string>
#include <vector>

#include "base/json.h"
#include "support/golden_path.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/utf8.h"

namespace bamba {

using Ids = std::vector<int64_t>;

inline Tokenizer golden_tokenizer(const char* name) {
  return Tokenizer::from_pretrained(test::golden_path(name));
}

/// A byte-level tokenizer.json with the 256 bytes as ids 0..255, ready to be bent out of shape.
inline Json small_tokenizer_json() {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    utf8_append(token, byte_level_character(static_cast<unsigned char>(byte)));
    vocab[token] = byte;
  }
  Json json;
  json["added_tokens"] = Json::array();
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  json["post_processor"] = nullptr;
  json["decoder"] = {{"type", "ByteLevel"}};
  json["model"] = {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}};
  return json;
}

inline Tokenizer make_tokenizer(const std::string& text, const TokenizerSideFiles& side = {}) {
  return Tokenizer(parse_tokenizer(text, "tokenizer.json", side));
}
inline Tokenizer make_tokenizer(const Json& json, const TokenizerSideFiles& side = {}) {
  return make_tokenizer(json.dump(), side);
}

/// Text of characters from many blocks, with much that pre-tokenizers care about.
inline std::string random_text(std::mt19937& random, int characters) {
  static const std::vector<std::string> kPieces = {" ",
                                                   " ",
                                                   "\n",
                                                   "\t",
                                                   "\r\n",
                                                   "'s",
                                                   "'LL",
                                                   "'",
                                                   "don't",
                                                   "the",
                                                   "ing",
                                                   "12",
                                                   "345",
                                                   "é",
                                                   "ß",
                                                   "日本",
                                                   "ا",
                                                   "😀",
                                                   "👩‍👩‍👧",
                                                   ".",
                                                   "!?",
                                                   "  ",
                                                   "e\u0301",
                                                   "\u00a0",
                                                   "\u3000",
                                                   "Ω",
                                                   "ſ",
                                                   "\u2028",
                                                   "_",
                                                   "<|",
                                                   "A"};
  std::string text;
  for (int i = 0; i < characters; ++i) {
    if (random() % 3 != 0) {
      text += kPieces[random() % kPieces.size()];
      continue;
    }
    uint32_t code = 0;
    switch (random() % 4) {
      case 0:
        code = static_cast<uint32_t>(random() % 0x80);
        break;
      case 1:
        code = static_cast<uint32_t>(random() % 0x800);
        break;
      case 2:
        code = static_cast<uint32_t>(random() % 0xD800);
        break;
      default:
        code = static_cast<uint32_t>(0x10000 + random() % 0x100000);
    }
    utf8_append(text, code);
  }
  return text;
}

}  // namespace bamba
