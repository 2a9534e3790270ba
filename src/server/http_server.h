// An HTTP/1.1 server on TCP sockets: keep-alive, pipelining, chunked streams, and deadlines for whole requests.
//
// One thread serves all sockets; handlers run on a few workers, so that a prompt that takes long to parse holds up
// nobody's tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/http.h"

namespace bamba::server {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  ///< 0: a free one
  int64_t max_connections = 1024;
  size_t max_header_bytes = 16 << 10;
  size_t max_body_bytes = 8 << 20;
  size_t max_bodies_bytes = 256 << 20;  ///< of all requests that are being received or parsed
  size_t max_stream_bytes = 1 << 20;    ///< that a client of a stream may have still to read
  double header_seconds = 10;           ///< from the first byte (or the connection's start) to the whole header
  double body_seconds = 60;             ///< for the whole body
  double idle_seconds = 75;             ///< between two requests
  double write_seconds = 30;            ///< for the client to take what is written, besides 16 kB a second
  int workers = 2;
};

class HttpServer {
 public:
  /// Listens at once. `handler` must outlive the server. Throws Error(io) when the address cannot be had.
  HttpServer(const HttpServerOptions& options, HttpHandler& handler);
  /// Closes what is open.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  uint16_t port() const;
  /// "http://127.0.0.1:8000"
  std::string url() const;
  int64_t open_connections() const;
  /// No new connections; those that are idle are closed, the others after their answer.
  void stop_accepting();
  /// Waits until all answers have been taken. False: `seconds` went by first.
  bool wait_until_idle(double seconds);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bamba::server
