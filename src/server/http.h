// Requests and responses of HTTP, without sockets: what handlers see, so that they can be tested without a network.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bamba::server {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method;  ///< "GET"
  std::string target;  ///< as it was sent: path and query
  std::vector<HttpHeader> headers;
  std::string body;

  /// The value of the first header of this name, in any case; empty when there is none.
  std::string_view header(std::string_view name) const;
  size_t count(std::string_view name) const;
  /// The path of the target without the query, with %XX decoded; nothing when the target is no path or is badly
  /// encoded.
  std::optional<std::string> path() const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";  ///< empty: no Content-Type
  std::vector<HttpHeader> headers;
  std::string body;
  bool close = false;  ///< no further request on this connection

  void set(std::string_view name, std::string value);
};

/// Answers one request: send(), or begin_stream(), any number of write() and end(). All functions may be called from
/// any thread and never wait; what comes after the client has left, or after the end, is dropped. An answer that is
/// abandoned (the last reference goes away before its end) closes the connection.
class Responder {
 public:
  Responder() = default;
  virtual ~Responder() = default;
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  virtual void send(HttpResponse response) = 0;
  virtual void begin_stream(HttpResponse head) = 0;
  /// A client that has too much still to read is dropped.
  virtual void write(std::string chunk) = 0;
  virtual void end() = 0;
  /// Called once, when the client goes before the end of the answer; at once if it has gone already.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  /// Calls this request's functions one after the other, in the order of post(), on the thread that serves sockets.
  virtual void post(std::function<void()> function) = 0;
  /// The same after some time; not at all when the answer has ended by then.
  virtual void after(double seconds, std::function<void()> function) = 0;
};

/// What a server asks of the program behind it.
class HttpHandler {
 public:
  HttpHandler() = default;
  virtual ~HttpHandler() = default;
  HttpHandler(const HttpHandler&) = delete;
  HttpHandler& operator=(const HttpHandler&) = delete;

  /// Sees a request before its body is read; an answer refuses it. Must not throw or wait.
  virtual std::optional<HttpResponse> refuse(const HttpRequest& head) = 0;
  /// The answer to something that is no request, or was too large or too slow. Must not throw or wait.
  virtual HttpResponse broken(int status, std::string_view reason) = 0;
  /// Called from one of several worker threads.
  virtual void handle(HttpRequest request, std::shared_ptr<Responder> responder) = 0;
};

/// "Not Found" and the like.
std::string_view status_text(int status);
bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace bamba::server
