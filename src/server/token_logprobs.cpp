#include "server/token_logprobs.h"

#include <algorithm>
#include <cmath>

#include "base/str.h"
#include "tokenizer/utf8.h"

namespace bamba::server {
namespace {

// JSON has no -infinity; this is what OpenAI sends for what cannot come.
constexpr double kImpossible = -9999.0;

double shown(double logprob) {
  return std::isfinite(logprob) ? std::max(logprob, kImpossible) : kImpossible;
}

/// The bytes of a token as a text would hold them; special tokens as they are spelled.
std::string token_bytes(const Tokenizer* tokenizer, int64_t id) {
  if (tokenizer == nullptr) return str("token_id:", id);
  if (tokenizer->is_special(id)) return tokenizer->id_to_token(id).value_or("");
  return tokenizer->id_to_bytes(id);
}

/// Part of a character is spelled byte by byte, as OpenAI's completions do, so that distinct tokens stay distinct.
std::string token_name(const Tokenizer* tokenizer, int64_t id) {
  std::string bytes = token_bytes(tokenizer, id);
  if (utf8_valid(bytes)) return bytes;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "bytes:";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

Json chat_entry(const Tokenizer* tokenizer, int64_t id, double logprob) {
  const std::string bytes = token_bytes(tokenizer, id);
  Json entry;
  entry["token"] = utf8_replace_invalid(bytes);
  entry["logprob"] = shown(logprob);
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  entry["bytes"] = std::move(list);
  return entry;
}

}  // namespace

Json chat_logprob(const Tokenizer* tokenizer, int64_t id, const TokenLogprob& logprob) {
  Json entry = chat_entry(tokenizer, id, logprob.logprob);
  Json top = Json::array();
  for (const auto& [other, value] : logprob.top) top.push_back(chat_entry(tokenizer, other, value));
  entry["top_logprobs"] = std::move(top);
  return entry;
}

void CompletionLogprobs::add(int64_t id, const TokenLogprob* logprob) {
  tokens_.push_back(token_name(tokenizer_, id));
  text_offset_.push_back(offset_);
  if (tokenizer_ != nullptr && !tokenizer_->is_special(id)) {
    for (const char c : tokenizer_->id_to_bytes(id)) offset_ += (c & 0xC0) != 0x80 ? 1 : 0;
  }
  if (logprob == nullptr) {
    token_logprobs_.push_back(nullptr);
    top_logprobs_.push_back(nullptr);
    return;
  }
  token_logprobs_.push_back(shown(logprob->logprob));
  Json top = Json::object();
  for (const auto& [other, value] : logprob->top) top[token_name(tokenizer_, other)] = shown(value);
  top[token_name(tokenizer_, id)] = shown(logprob->logprob);
  top_logprobs_.push_back(std::move(top));
}

Json CompletionLogprobs::take() {
  Json out;
  out["tokens"] = std::exchange(tokens_, Json::array());
  out["token_logprobs"] = std::exchange(token_logprobs_, Json::array());
  out["top_logprobs"] = std::exchange(top_logprobs_, Json::array());
  out["text_offset"] = std::exchange(text_offset_, Json::array());
  return out;
}

}  // namespace bamba::server
