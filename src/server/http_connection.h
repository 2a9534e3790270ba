// One client's connection. Everything here runs on the server's I/O thread, but for Connection::Answer.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/http_server.h"

namespace bamba::server {

class Connection;

/// The way from other threads to the server's. Whoever comes through holds it, and the server waits for him before it
/// goes; whoever comes later finds it shut.
struct Gate {
  std::mutex mutex;
  bool open = true;
};

/// What connections share. `submit` runs a function on a worker, `closed` forgets a connection.
struct ConnectionContext {
  const HttpServerOptions& options;
  HttpHandler& handler;
  boost::asio::io_context& io;
  std::function<void(std::function<void()>)> submit;
  std::function<void(Connection*)> closed;
  size_t bodies_bytes = 0;  ///< reserved for requests that are being received or parsed
  bool draining = false;
  std::shared_ptr<Gate> gate = std::make_shared<Gate>();
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  Connection(Socket socket, ConnectionContext& context);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  /// Answers without having read anything, and closes.
  void turn_away(const HttpResponse& response);
  void close();
  /// Closes when nothing is being received or answered.
  void close_if_idle();
  bool busy() const { return phase_ != Phase::idle; }

 private:
  class Answer;
  enum class Phase { idle, header, body, answering, lingering, closed };
  /// Whether this very answer is under way.
  bool answering(uint64_t answer) const { return phase_ == Phase::answering && answer_ == answer; }
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  /// A deadline; arming it anew forgets the one before.
  struct Deadline {
    explicit Deadline(boost::asio::io_context& io) : timer(io) {}
    boost::asio::steady_timer timer;
    uint64_t generation = 0;
  };

  void arm(Deadline& deadline, double seconds, void (Connection::*expired)());
  static void disarm(Deadline& deadline);
  void read_more();
  void sending_ended();
  void close_at_reset();
  void received(boost::system::error_code error, size_t bytes);
  void parse();
  void header_complete();
  std::string broken_framing(const HttpRequest& head) const;
  void reserve(size_t bytes);
  void dispatch();
  void refuse(HttpResponse response);
  void refuse(boost::system::error_code error);
  void read_expired();
  void write_expired();

  // Of the answer that is under way.
  void send(const HttpResponse& response);
  void begin_stream(const HttpResponse& head);
  void write(const std::string& chunk);
  void end();
  void on_disconnect(std::function<void()> callback);
  void put_head(const HttpResponse& response, bool stream);
  void flush();
  void written(boost::system::error_code error);
  void answered();
  void linger();

  ConnectionContext& context_;
  Socket socket_;
  Deadline read_deadline_;
  Deadline write_deadline_;
  Phase phase_ = Phase::header;
  std::array<char, 16 << 10> chunk_{};
  std::string in_;  // received and not parsed
  bool reading_ = false;
  bool sending_ended_ = false;  // the client has closed its side
  std::optional<Parser> parser_;
  HttpRequest request_;
  bool has_header_ = false;
  size_t reserved_ = 0;  // of context_.bodies_bytes
  bool http10_ = false;
  bool head_only_ = false;
  bool keep_alive_ = true;

  uint64_t answer_ = 0;  // number of the answer that is under way
  bool begun_ = false;
  bool chunked_ = false;
  bool ended_ = false;
  bool events_ = false;  // the answer is a stream of server-sent events
  bool watches_reset_ = false;
  std::function<void()> disconnected_;
  std::string out_;      // to be written
  std::string writing_;  // being written
  size_t lingered_ = 0;
};

}  // namespace bamba::server
