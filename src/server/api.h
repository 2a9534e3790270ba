// The routes of the server: OpenAI's completion routes, tokens, models, health, metrics and the chat page.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/api_keys.h"
#include "server/exchange.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/request_log.h"
#include "server/served_model.h"

namespace bamba::server {

class ConstraintCache;

struct ApiOptions {
  ApiKeys keys;
  std::vector<std::string> cors_origins;  ///< "https://example.org", or "*" for all; empty: same origin only
  bool page = true;                       ///< serve the chat page at /
  std::string version;                    ///< of the program
};

class Api final : public HttpHandler {
 public:
  Api(ApiOptions options, RequestLog& log);
  ~Api() override;

  /// Until this is called, all that needs the model is answered with 503.
  void set_model(std::shared_ptr<const ServedModel> model);
  /// From now on new work is answered with 503.
  void set_draining();
  /// For the gauge of open connections.
  void set_connections(std::function<int64_t()> count);

  std::optional<HttpResponse> refuse(const HttpRequest& head) override;
  HttpResponse broken(int status, std::string_view reason) override;
  void handle(HttpRequest request, std::shared_ptr<Responder> responder) override;

 private:
  struct Route;
  enum class State { loading, ready, draining };

  static const std::vector<Route>& routes();
  const Route* find(const HttpRequest& request) const;
  const Route& match(const HttpRequest& request) const;
  std::shared_ptr<const ServedModel> model() const;
  std::shared_ptr<const ServedModel> model_for(const Json& body) const;
  State state() const;
  CommonHeaders headers_for(const HttpRequest& request) const;
  HttpResponse preflight(const HttpRequest& head, const Route& route) const;
  HttpResponse answered(const HttpRequest& head, const std::string& route, const std::string& outcome,
                        HttpResponse response);
  void check(const HttpRequest& head, const Route& route) const;

  void page(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void health(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void metrics(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void models(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void one_model(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void completions(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void chat_completions(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void tokenize(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  void detokenize(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);

  ApiOptions options_;
  RequestLog& log_;
  Metrics metrics_;
  std::unique_ptr<ConstraintCache> constraints_;
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<const ServedModel> model_;
  std::function<int64_t()> connections_;
  bool draining_ = false;
};

}  // namespace bamba::server
