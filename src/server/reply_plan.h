// A request of one of the completion routes, checked and ready to run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/served_model.h"

namespace bamba::server {

struct PlannedPrompt {
  EngineRequest request;
  std::string echo;               ///< the text that is put before each completion
  std::vector<int64_t> echo_ids;  ///< its tokens, for their log-probabilities
};

struct ReplyPlan {
  bool chat = false;
  bool stream = false;
  bool include_usage = false;    ///< of a stream: a last chunk with the usage
  bool logprobs = false;         ///< of the answer
  int64_t top_logprobs = 0;      ///< alternatives a token
  bool echo = false;             ///< completions: the prompt is part of the text
  bool token_ids = false;        ///< an extension: the ids of what was written
  bool hide_completion = false;  ///< completions with max_tokens 0: one token is made and not shown
  int64_t choices = 1;           ///< for each prompt
  std::vector<PlannedPrompt> prompts;
};

}  // namespace bamba::server
