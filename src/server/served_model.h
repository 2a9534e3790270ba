// What the routes need to know of the model that is served.
#pragma once

#include <bamba/config.h>
#include <bamba/generation.h>
#include <bamba/tokenizer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/served_engine.h"

namespace bamba::server {

struct ServedModel {
  std::vector<std::string> names;              ///< that requests may give; the first is the one in answers
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null: only ids go in, and no text comes out
  BambaConfig config;
  GenerationConfig defaults;          ///< for what a request leaves open
  int64_t default_max_tokens = 1024;  ///< of a chat reply when neither the request nor the defaults say
  double max_seconds = 0;             ///< of any request; 0: no limit
  int64_t max_logprobs = 20;
  int64_t created = 0;      ///< Unix time
  std::string fingerprint;  ///< changes with what may change a seeded result
  std::shared_ptr<ServedEngine> engine;
  size_t longest_token = 0;  ///< bytes; set by measure_tokens(), 0: not known

  const std::string& name() const { return names.front(); }
  bool knows(const std::string& name) const;
  int64_t max_context() const { return engine->max_context(); }
  /// Throws ApiError(400) when there is none.
  const Tokenizer& require_tokenizer(const std::string& need) const;
  void measure_tokens();
  /// Throws ApiError(400) for a text that cannot fit the context whatever its tokens are: said before the work of
  /// tokenizing it.
  void check_text_size(size_t bytes) const;
};

}  // namespace bamba::server
