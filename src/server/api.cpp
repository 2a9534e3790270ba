#include "server/api.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/str.h"
#include "server/constraint_fields.h"
#include "server/page_files.h"
#include "server/reply_format.h"

namespace bamba::server {

struct Api::Route {
  std::string path;  ///< one that ends with / stands for all below it
  std::string method;
  bool open = false;         ///< no key is asked for
  bool needs_model = false;  ///< 503 while the model is loaded
  bool starts_work = false;  ///< 503 while the server drains
  void (Api::*run)(const HttpRequest&, const std::shared_ptr<Exchange>&);
};

namespace {

constexpr size_t kMaxRequestId = 128;

/// A client's own id, if it is fit for a header and a log.
std::string request_id(const HttpRequest& request) {
  const std::string_view given = request.header("x-request-id");
  const bool good = !given.empty() && given.size() <= kMaxRequestId &&
                    std::all_of(given.begin(), given.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  return good ? std::string(given) : str("req-", random_id());
}

bool is_json(std::string_view content_type) {
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return equal_ignoring_case(type, "application/json");
}

const PageFile* find_page(const std::string& path) {
  for (const PageFile& file : page_files()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

}  // namespace

const std::vector<Api::Route>& Api::routes() {
  static const std::vector<Route> table = {
      {"/health", "GET", true, false, false, &Api::health},
      {"/metrics", "GET", false, false, false, &Api::metrics},
      {"/v1/models", "GET", false, true, false, &Api::models},
      {"/v1/models/", "GET", false, true, false, &Api::one_model},
      {"/v1/completions", "POST", false, true, true, &Api::completions},
      {"/v1/chat/completions", "POST", false, true, true, &Api::chat_completions},
      {"/tokenize", "POST", false, true, false, &Api::tokenize},
      {"/detokenize", "POST", false, true, false, &Api::detokenize},
  };
  return table;
}

Api::Api(ApiOptions options, RequestLog& log)
    : options_(std::move(options)), log_(log), constraints_(std::make_unique<ConstraintCache>()) {}

Api::~Api() = default;

void Api::set_model(std::shared_ptr<const ServedModel> model) {
  const std::lock_guard lock(mutex_);
  model_ = std::move(model);
}

void Api::set_draining() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void Api::set_connections(std::function<int64_t()> count) {
  const std::lock_guard lock(mutex_);
  connections_ = std::move(count);
}

std::shared_ptr<const ServedModel> Api::model() const {
  const std::lock_guard lock(mutex_);
  return model_;
}

Api::State Api::state() const {
  const std::lock_guard lock(mutex_);
  return draining_ ? State::draining : model_ == nullptr ? State::loading : State::ready;
}

const Api::Route* Api::find(const HttpRequest& request) const {
  const std::optional<std::string> path = request.path();
  if (!path) return nullptr;
  for (const Route& route : routes()) {
    const bool below = route.path.ends_with('/') && path->size() > route.path.size() && path->starts_with(route.path);
    if (below || *path == route.path) return &route;
  }
  static const Route page_route = {"/", "GET", true, false, false, &Api::page};
  return options_.page && find_page(*path) != nullptr ? &page_route : nullptr;
}

const Api::Route& Api::match(const HttpRequest& request) const {
  const Route* route = find(request);
  if (route == nullptr) throw ApiError(404, "there is nothing at this address", {}, "not_found");
  return *route;
}

CommonHeaders Api::headers_for(const HttpRequest& request) const {
  CommonHeaders headers;
  headers.request_id = request_id(request);
  const std::string_view origin = request.header("origin");
  for (const std::string& allowed : options_.cors_origins) {
    if (allowed == "*" || (!origin.empty() && allowed == origin)) headers.allow_origin = allowed;
    if (!headers.allow_origin.empty()) break;
  }
  return headers;
}

void Api::check(const HttpRequest& head, const Route& route) const {
  if (!route.open && options_.keys.required() && !options_.keys.accept(head.header("authorization"))) {
    throw ApiError(401, "a valid API key is needed: Authorization: Bearer KEY", {}, "invalid_api_key");
  }
  if (route.method == "POST") {
    if (!is_json(head.header("content-type"))) {
      throw ApiError(415, "the body must be JSON, with Content-Type: application/json", {}, "unsupported_media_type");
    }
    const std::string_view encoding = head.header("content-encoding");
    if (!encoding.empty() && !equal_ignoring_case(encoding, "identity")) {
      throw ApiError(415, "compressed bodies are not understood", {}, "unsupported_media_type");
    }
  }
  const State now = state();
  if (route.needs_model && model() == nullptr) throw ApiError(503, "the model is being loaded", {}, "loading");
  if (route.starts_work && now == State::draining) throw ApiError(503, "the server is stopping", {}, "draining");
}

HttpResponse Api::preflight(const HttpRequest& head, const Route& route) const {
  HttpResponse response;
  response.status = 204;
  response.content_type.clear();
  const std::string methods = route.method == "GET" ? "GET, HEAD, OPTIONS" : route.method + ", OPTIONS";
  response.set("Allow", methods);
  if (!headers_for(head).allow_origin.empty()) {
    response.set("Access-Control-Allow-Methods", methods);
    response.set("Access-Control-Allow-Headers", "Authorization, Content-Type, x-request-id, x-session-id");
    response.set("Access-Control-Max-Age", "600");
  }
  return response;
}

/// Counts and logs an answer that no exchange was made for.
HttpResponse Api::answered(const HttpRequest& head, const std::string& route, const std::string& outcome,
                           HttpResponse response) {
  const CommonHeaders headers = headers_for(head);
  headers.add_to(response);
  metrics_.count_request(route, response.status, 0);
  RequestRecord record;
  record.id = headers.request_id;
  // Methods are the client's words: only those that are known are repeated.
  for (const char* known : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}) {
    if (head.method == known) record.method = known;
  }
  if (record.method.empty()) record.method = "other";
  record.route = route;
  record.status = response.status;
  record.outcome = outcome;
  log_.request(record);
  return response;
}

std::optional<HttpResponse> Api::refuse(const HttpRequest& head) {
  std::string name = "other";
  try {
    const Route& route = match(head);
    name = route.path;
    if (head.method == "OPTIONS") return answered(head, name, "ok", preflight(head, route));
    const bool allowed = head.method == route.method || (head.method == "HEAD" && route.method == "GET");
    if (!allowed) {
      const ApiError error(405, str(name, " takes ", route.method), {}, "method_not_allowed");
      HttpResponse response = error.response();
      response.set("Allow", route.method == "GET" ? "GET, HEAD, OPTIONS" : route.method + ", OPTIONS");
      return answered(head, name, error.code(), std::move(response));
    }
    check(head, route);
    return {};
  } catch (const ApiError& error) {
    return answered(head, name, error.code(), error.response());
  }
}

HttpResponse Api::broken(int status, std::string_view reason) {
  const ApiError error(status, std::string(reason), {}, status == 408 ? "request_timeout" : "bad_request");
  return answered({}, "other", error.code(), error.response());
}

void Api::handle(HttpRequest request, std::shared_ptr<Responder> responder) {
  const Route* route = find(request);  // refuse() has seen it
  RequestRecord record;
  CommonHeaders headers = headers_for(request);
  record.id = headers.request_id;
  record.method = request.method;
  record.route = route != nullptr ? route->path : "other";
  const auto exchange =
      std::make_shared<Exchange>(std::move(responder), std::move(headers), std::move(record), metrics_, log_);
  try {
    (this->*match(request).run)(request, exchange);
  } catch (const ApiError& error) {
    exchange->send(error);
  } catch (const Error& error) {
    exchange->send(api_error(error));
  } catch (const std::bad_alloc&) {
    exchange->send(ApiError(503, "there is not enough memory for this request", {}, "out_of_memory"));
  } catch (const std::exception& error) {
    exchange->send(ApiError(500, error.what(), {}, "internal"));
  }
}

void Api::page(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const PageFile* file = find_page(request.path().value_or(""));
  HttpResponse response;
  response.content_type = file->content_type;
  response.body = file->bytes;
  response.set("Cache-Control", "no-cache");
  // The page says itself what it may load; a header alone can say who may frame it.
  response.set("Content-Security-Policy", "frame-ancestors 'none'");
  response.set("Referrer-Policy", "no-referrer");
  exchange->send(std::move(response));
}

void Api::health(const HttpRequest& /*request*/, const std::shared_ptr<Exchange>& exchange) {
  const State now = state();
  HttpResponse response;
  response.status = now == State::ready ? 200 : 503;
  Json body;
  body["status"] = now == State::ready ? "ok" : now == State::loading ? "loading" : "draining";
  response.body = json_text(body);
  exchange->send(std::move(response));
}

void Api::metrics(const HttpRequest& /*request*/, const std::shared_ptr<Exchange>& exchange) {
  const auto served = model();
  std::optional<EngineMetrics> engine;
  if (served != nullptr) engine = served->engine->metrics();
  int64_t connections = 0;
  {
    const std::lock_guard lock(mutex_);
    if (connections_) connections = connections_();
  }
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = metrics_.text(engine ? &*engine : nullptr, connections, options_.version);
  exchange->send(std::move(response));
}

}  // namespace bamba::server
