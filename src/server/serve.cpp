#include "server/serve.h"

#include <chrono>
#include <ctime>
#include <thread>
#include <utility>

#include "base/fnv.h"
#include "base/str.h"
#include "server/real_engine.h"

namespace bamba::server {
namespace {

constexpr auto kLook = std::chrono::milliseconds(50);  // between two looks at `stop`
// For clients to take answers that are complete, after the last request has ended.
constexpr double kFlushSeconds = 5;

std::shared_ptr<ServedModel> serve_model(const ServeOptions& options, LoadedModel loaded) {
  auto served = std::make_shared<ServedModel>();
  served->names = options.names;
  served->tokenizer = loaded.tokenizer;
  served->measure_tokens();
  served->config = loaded.model.config();
  served->defaults = std::move(loaded.defaults);
  served->default_max_tokens = options.default_max_tokens;
  served->max_seconds = options.request_seconds;
  served->created = std::time(nullptr);
  served->fingerprint = model_fingerprint(loaded.model, options.api.version);
  served->engine = std::make_shared<RealEngine>(std::move(loaded.model), loaded.tokenizer, options.engine);
  return served;
}

}  // namespace

std::string model_fingerprint(const BambaForCausalLM& model, const std::string& version) {
  const ModelInfo info = model.model().info();
  Fnv1a hash;
  hash.add(str(version, '/', model.config().to_json(), '/', static_cast<int>(info.weights), '/',
               static_cast<int>(info.kv), '/', static_cast<int>(info.activations)));
  std::ostringstream out;
  out << "bamba-" << std::hex << hash.value();
  return out.str();
}

void serve(const ServeOptions& options, const std::function<LoadedModel()>& load,
           const std::function<void(const std::string& url)>& listening, const std::function<bool()>& stop) {
  RequestLog log(options.log);
  Api api(options.api, log);
  HttpServer http(options.http, api);
  api.set_connections([&http] { return http.open_connections(); });
  listening(http.url());
  log.event("listening", http.url());

  std::shared_ptr<ServedModel> served;
  try {
    served = serve_model(options, load());
  } catch (const Error& error) {
    // Asked to stop while the model was loaded: that is no failure.
    if (error.code() != ErrorCode::cancelled || !stop()) throw;
    log.event("stopped", "while the model was being loaded");
    return;
  }
  api.set_model(served);
  log.event("ready", served->name());

  while (!stop()) std::this_thread::sleep_for(kLook);

  log.event("draining", str("up to ", options.drain_seconds, " s"));
  api.set_draining();
  http.stop_accepting();
  const bool whole = served->engine->drain(options.drain_seconds);
  http.wait_until_idle(kFlushSeconds);
  log.event("stopped", whole ? "all requests ended" : "some requests were cut off");
}

}  // namespace bamba::server
