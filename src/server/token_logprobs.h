// Log-probabilities in the forms of the two completion routes. Every token that was chosen has an entry: also the one
// that ended the text, and those of a stop string, which the text leaves out.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"

namespace bamba::server {

/// chat: one entry of "content". `tokenizer` may be null.
Json chat_logprob(const Tokenizer* tokenizer, int64_t id, const TokenLogprob& logprob);

/// completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, filled token by token.
class CompletionLogprobs {
 public:
  /// `tokenizer` may be null. Offsets count characters from the start of the text that is sent.
  explicit CompletionLogprobs(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  /// Nothing: the first token of a prompt, which nothing came before.
  void add(int64_t id, const TokenLogprob* logprob);
  bool empty() const { return tokens_.empty(); }
  /// What has been added since the last call.
  Json take();

 private:
  const Tokenizer* tokenizer_;
  int64_t offset_ = 0;
  Json tokens_ = Json::array();
  Json token_logprobs_ = Json::array();
  Json top_logprobs_ = Json::array();
  Json text_offset_ = Json::array();
};

}  // namespace bamba::server
