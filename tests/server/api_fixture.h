// The whole server on a free port, with the demo model's tokenizer and an engine that a test drives.
#pragma once

#include <bamba/tokenizer.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/api.h"
#include "server/client.h"
#include "server/http_server.h"
#include "server/scripted_engine.h"

namespace bamba::test {

inline std::shared_ptr<const Tokenizer> demo_tokenizer() {
  static const auto tokenizer = std::make_shared<const Tokenizer>(Tokenizer::from_pretrained(BAMBA_DEMO_MODEL));
  return tokenizer;
}

inline bool eventually(const std::function<bool()>& condition, double seconds = 20) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

inline std::shared_ptr<server::ServedModel> served_model(std::shared_ptr<server::ServedEngine> engine) {
  auto model = std::make_shared<server::ServedModel>();
  model->names = {"demo", "alias/with slash"};
  model->tokenizer = demo_tokenizer();
  model->config = BambaConfig::from_pretrained(BAMBA_DEMO_MODEL);
  model->defaults = GenerationConfig::from_pretrained(BAMBA_DEMO_MODEL, model->config);
  model->fingerprint = "bamba-test";
  model->engine = std::move(engine);
  model->measure_tokens();
  return model;
}

/// Lines of the log, kept.
struct LogLines {
  std::mutex mutex;
  std::vector<std::string> lines;
  std::function<void(const std::string&)> sink() {
    return [this](const std::string& line) {
      const std::lock_guard lock(mutex);
      lines.push_back(line);
    };
  }
  std::string all() {
    const std::lock_guard lock(mutex);
    std::string out;
    for (const std::string& line : lines) out += line + '\n';
    return out;
  }
};

struct ApiServer {
  explicit ApiServer(server::ApiOptions options = {}, bool ready = true, const server::HttpServerOptions& http = {},
                     std::shared_ptr<server::ServedEngine> own = nullptr)
      : log(server::LogFormat::json, lines.sink()), api(std::move(options), log), server(http, api) {
    api.set_connections([this] { return server.open_connections(); });
    model = served_model(own != nullptr ? std::move(own) : engine);
    if (ready) api.set_model(model);
  }
  uint16_t port() const { return server.port(); }

  std::shared_ptr<ScriptedEngine> engine = std::make_shared<ScriptedEngine>();
  std::shared_ptr<server::ServedModel> model;
  LogLines lines;
  server::RequestLog log;
  server::Api api;
  server::HttpServer server;
};

}  // namespace bamba::test
