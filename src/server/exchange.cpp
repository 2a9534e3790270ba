#include "server/exchange.h"

#include <utility>

namespace bamba::server {

void CommonHeaders::add_to(HttpResponse& response) const {
  response.set("x-request-id", request_id);
  response.set("X-Content-Type-Options", "nosniff");
  if (allow_origin.empty()) return;
  response.set("Access-Control-Allow-Origin", allow_origin);
  response.set("Access-Control-Expose-Headers", "x-request-id, Retry-After");
  if (allow_origin != "*") response.set("Vary", "Origin");
}

Exchange::Exchange(std::shared_ptr<Responder> responder, CommonHeaders headers, RequestRecord record, Metrics& metrics,
                   RequestLog& log)
    : responder_(std::move(responder)),
      headers_(std::move(headers)),
      record_(std::move(record)),
      metrics_(metrics),
      log_(log) {}

void Exchange::send(HttpResponse response) {
  headers_.add_to(response);
  finish(response.status, "ok");
  responder_->send(std::move(response));
}

void Exchange::send(const ApiError& error) {
  HttpResponse response = error.response();
  headers_.add_to(response);
  finish(error.status(), error.code().empty() ? "error" : error.code());
  responder_->send(std::move(response));
}

void Exchange::send(const Json& body) {
  HttpResponse response;
  response.body = json_text(body);
  send(std::move(response));
}

void Exchange::begin_stream(HttpResponse head) {
  headers_.add_to(head);
  responder_->begin_stream(std::move(head));
}

void Exchange::end(const std::string& outcome) {
  finish(200, outcome);
  responder_->end();
}

void Exchange::on_disconnect(std::function<void()> callback) {
  responder_->on_disconnect([self = shared_from_this(), callback = std::move(callback)] {
    callback();
    self->finish(499, "disconnected");
  });
}

// Before the client has the answer: whoever asks for metrics with the answer in hand finds it counted.
void Exchange::finish(int status, const std::string& outcome) {
  if (finished_.exchange(true)) return;
  record_.status = status;
  record_.outcome = outcome;
  record_.seconds = watch_.seconds();
  metrics_.count_request(record_.route, status, record_.seconds);
  log_.request(record_);
}

}  // namespace bamba::server
