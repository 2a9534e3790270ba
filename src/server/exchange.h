// One request and its answer: the headers that every answer has, and what the log and the metrics say of it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/stopwatch.h"
#include "server/api_error.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/request_log.h"

namespace bamba::server {

/// Adds the request's id and what browsers of other origins need.
struct CommonHeaders {
  std::string request_id;
  std::string allow_origin;  ///< empty: same origin only
  void add_to(HttpResponse& response) const;
};

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<Responder> responder, CommonHeaders headers, RequestRecord record, Metrics& metrics,
           RequestLog& log);

  const std::string& id() const { return record_.id; }

  void send(HttpResponse response);
  void send(const ApiError& error);
  /// 200 with JSON.
  void send(const Json& body);
  void begin_stream(HttpResponse head);
  void write(std::string chunk) { responder_->write(std::move(chunk)); }
  /// `outcome` is for the log: "ok" or an error's code.
  void end(const std::string& outcome);

  /// As Responder's; the log says that the client left.
  void on_disconnect(std::function<void()> callback);
  void post(std::function<void()> function) { responder_->post(std::move(function)); }
  void after(double seconds, std::function<void()> function) { responder_->after(seconds, std::move(function)); }

  /// For the log; to be set before the answer's end, on the thread that ends it.
  RequestRecord& record() { return record_; }

 private:
  void finish(int status, const std::string& outcome);

  std::shared_ptr<Responder> responder_;
  CommonHeaders headers_;
  RequestRecord record_;
  Metrics& metrics_;
  RequestLog& log_;
  Stopwatch watch_;
  std::atomic<bool> finished_ = false;
};

}  // namespace bamba::server
