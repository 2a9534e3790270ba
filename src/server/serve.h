// bamba serve: listens, loads the model, answers until it is asked to stop, and keeps the cache of states.
#pragma once

#include <bamba/engine.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/api.h"
#include "server/http_server.h"
#include "server/request_log.h"

namespace bamba::server {

struct ServeOptions {
  HttpServerOptions http;
  ApiOptions api;
  EngineOptions engine;
  LogFormat log = LogFormat::text;
  std::vector<std::string> names;     ///< of the model; not empty
  int64_t default_max_tokens = 1024;  ///< of a chat reply
  double request_seconds = 0;         ///< of any request; 0: no limit
  double drain_seconds = 30;          ///< for requests that run when the server is asked to stop
};

struct LoadedModel {
  BambaForCausalLM model;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< may be null
  GenerationConfig defaults;
};

/// Returns when `stop` has said true and everything has ended. `load` runs while the port is open already (requests
/// get 503 meanwhile); `listening` hears the URL first. Throws what `load` throws, Error(io) when the address is taken.
void serve(const ServeOptions& options, const std::function<LoadedModel()>& load,
           const std::function<void(const std::string& url)>& listening, const std::function<bool()>& stop);

/// What may change a seeded result: the version, the model's shape and formats.
std::string model_fingerprint(const BambaForCausalLM& model, const std::string& version);

}  // namespace bamba::server
