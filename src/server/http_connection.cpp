#include "server/http_connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <ctime>
#include <utility>

#include "base/str.h"

namespace bamba::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

// Of requests that a client sends before it has the answer to the last.
constexpr size_t kPipelineBytes = 64 << 10;
// What is read and dropped after an answer that ends a connection: closing with unread bytes would reset it, and the
// client could lose the answer.
constexpr size_t kLingerBytes = 16 << 20;
constexpr double kLingerSeconds = 2;
constexpr double kSlowestBytesPerSecond = 16 << 10;
// Of a chunk's header or the trailers after the last chunk.
constexpr size_t kChunkHeaderBytes = 64 << 10;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 40> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text.data(), length);
}

}  // namespace

/// A handler's view of the connection: hands every call over to the I/O thread. It may outlive the server, in which a
/// connection's timers and socket have their services, so it keeps no connection alive: those that are open, the server
/// holds.
class Connection::Answer final : public Responder {
 public:
  Answer(const std::shared_ptr<Connection>& connection, uint64_t number)
      : connection_(connection), io_(connection->context_.io), gate_(connection->context_.gate), number_(number) {}
  ~Answer() override {
    // Nobody is left who could end the answer: a broken promise that the client must not wait for.
    hand_over([](Connection& connection) {
      if (!connection.ended_) connection.close();
    });
  }

  void send(HttpResponse response) override {
    hand_over([response = std::move(response)](Connection& connection) { connection.send(response); });
  }
  void begin_stream(HttpResponse head) override {
    hand_over([head = std::move(head)](Connection& connection) { connection.begin_stream(head); });
  }
  void write(std::string chunk) override {
    hand_over([chunk = std::move(chunk)](Connection& connection) { connection.write(chunk); });
  }
  void end() override {
    hand_over([](Connection& connection) { connection.end(); });
  }
  void on_disconnect(std::function<void()> callback) override {
    post([connection = connection_, number = number_, callback = std::move(callback)]() mutable {
      const std::shared_ptr<Connection> found = connection.lock();
      if (found && found->answering(number)) {
        if (!found->ended_) found->on_disconnect(std::move(callback));
      } else if (!found || found->answer_ == number) {
        callback();
      }
    });
  }
  void post(std::function<void()> function) override {
    const std::lock_guard lock(gate_->mutex);
    if (gate_->open) asio::post(io_, std::move(function));
  }
  void after(double seconds, std::function<void()> function) override {
    const std::lock_guard lock(gate_->mutex);
    if (!gate_->open) return;
    auto timer = std::make_shared<asio::steady_timer>(io_);
    timer->expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds)));
    timer->async_wait([timer, connection = connection_, number = number_,
                       function = std::move(function)](boost::system::error_code error) {
      const std::shared_ptr<Connection> found = connection.lock();
      if (!error && found && found->answering(number) && !found->ended_) function();
    });
  }

 private:
  template <typename Function>
  void hand_over(Function function) {
    post([connection = connection_, number = number_, function = std::move(function)] {
      const std::shared_ptr<Connection> found = connection.lock();
      if (found && found->answering(number)) function(*found);
    });
  }

  std::weak_ptr<Connection> connection_;
  asio::io_context& io_;
  std::shared_ptr<Gate> gate_;
  uint64_t number_;
};

Connection::Connection(Socket socket, ConnectionContext& context)
    : context_(context), socket_(std::move(socket)), read_deadline_(context.io), write_deadline_(context.io) {}

Connection::~Connection() = default;

void Connection::start() {
  arm(read_deadline_, context_.options.header_seconds, &Connection::read_expired);
  phase_ = Phase::idle;
  read_more();
}

void Connection::turn_away(const HttpResponse& response) {
  HttpResponse last = response;
  last.close = true;
  refuse(std::move(last));
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  const bool left = phase_ == Phase::answering && !ended_;
  phase_ = Phase::closed;
  disarm(read_deadline_);
  disarm(write_deadline_);
  boost::system::error_code ignored;
  socket_.close(ignored);
  if (const auto callback = std::exchange(disconnected_, nullptr); left && callback) callback();
  context_.bodies_bytes -= std::exchange(reserved_, 0);
  context_.closed(this);
}

void Connection::close_if_idle() {
  if (phase_ == Phase::idle) close();
}

void Connection::arm(Deadline& deadline, double seconds, void (Connection::*expired)()) {
  const uint64_t generation = ++deadline.generation;
  deadline.timer.expires_after(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds)));
  deadline.timer.async_wait(
      [self = shared_from_this(), &deadline, generation, expired](boost::system::error_code error) {
        if (!error && deadline.generation == generation) (self.get()->*expired)();
      });
}

void Connection::disarm(Deadline& deadline) {
  ++deadline.generation;
  deadline.timer.cancel();
}

void Connection::read_more() {
  if (reading_ || phase_ == Phase::closed) return;
  reading_ = true;
  if (sending_ended_) {
    // Reading on would not say so once more: after an end Asio waits for news from the socket, and there are none.
    asio::post(context_.io, [self = shared_from_this()] { self->received(asio::error::eof, 0); });
    return;
  }
  socket_.async_read_some(asio::buffer(chunk_), [self = shared_from_this()](boost::system::error_code error, size_t n) {
    self->received(error, n);
  });
}

void Connection::received(boost::system::error_code error, size_t bytes) {
  reading_ = false;
  if (phase_ == Phase::closed) return;
  if (error == asio::error::eof) sending_ended_ = true;
  if (sending_ended_ && phase_ == Phase::answering) return sending_ended();
  if (sending_ended_ && phase_ == Phase::idle && !in_.empty()) return;  // answered() has the next request parsed
  if (error) return close();
  if (phase_ == Phase::lingering) {
    lingered_ += bytes;
    return lingered_ > kLingerBytes ? close() : read_more();
  }
  in_.append(chunk_.data(), bytes);
  if (phase_ != Phase::answering) return parse();
  // Past this bound the client's leaving is seen only when something is written to it.
  if (in_.size() <= kPipelineBytes) read_more();
}

/// In the middle of an answer: the client has left, or has only closed its side and waits. TCP tells the two apart when
/// something is sent, which a client that has left answers with a reset. So what means nothing to a client is sent: an
/// interim answer, or a comment between events; of another stream the next bytes will do. Before an answer to HTTP/1.0
/// there is no such thing, and the client counts as gone.
void Connection::sending_ended() {
  if (ended_) return;  // the answer is on its way
  if (!begun_) {
    if (http10_) return close();
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  } else if (events_) {
    write(":\n\n");
  }
  if (phase_ == Phase::answering) close_at_reset();
}

void Connection::close_at_reset() {
  if (std::exchange(watches_reset_, true)) return;
  socket_.async_wait(Socket::wait_error, [self = shared_from_this()](boost::system::error_code error) {
    if (!error) self->close();
  });
}

void Connection::parse() {
  if (in_.empty()) return read_more();
  if (phase_ == Phase::idle) {
    phase_ = Phase::header;
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(context_.options.max_header_bytes));
    parser_->body_limit(context_.options.max_body_bytes);
    has_header_ = false;
    arm(read_deadline_, context_.options.header_seconds, &Connection::read_expired);
  }
  while (!in_.empty() && !parser_->is_done()) {
    boost::system::error_code error;
    const size_t used = parser_->put(asio::buffer(in_), error);
    in_.erase(0, used);
    if (error == http::error::need_more) {
      const size_t most = has_header_ ? kChunkHeaderBytes : context_.options.max_header_bytes;
      if (in_.size() > most) return refuse(has_header_ ? http::error::bad_chunk : http::error::header_limit);
      break;
    }
    if (error) return refuse(error);
    if (parser_->is_header_done() && !has_header_) {
      has_header_ = true;
      header_complete();
      if (phase_ != Phase::body) return;  // refused
    }
    if (parser_->chunked() && !parser_->is_done()) {
      reserve(parser_->get().body().size());
      if (phase_ != Phase::body) return;
    }
  }
  if (parser_->is_done()) return dispatch();
  read_more();
}

void Connection::header_complete() {
  const auto& message = parser_->get();
  request_ = HttpRequest();
  const auto text = [](auto view) { return std::string(view.data(), view.size()); };
  request_.method = text(message.method_string());
  request_.target = text(message.target());
  for (const auto& field : message) request_.headers.push_back({text(field.name_string()), text(field.value())});
  http10_ = message.version() < 11;
  head_only_ = request_.method == "HEAD";
  keep_alive_ = parser_->keep_alive();
  phase_ = Phase::body;
  if (std::string reason = broken_framing(request_); !reason.empty()) {
    return refuse(context_.handler.broken(400, reason));
  }
  const auto length = parser_->content_length();
  if (std::optional<HttpResponse> refusal = context_.handler.refuse(request_)) {
    // Without a body the next request begins here, and the connection can stay.
    if (parser_->is_done()) {
      phase_ = Phase::answering;
      ++answer_;
      begun_ = ended_ = false;
      disarm(read_deadline_);
      send(*refusal);
      read_more();
      return;
    }
    return refuse(*std::move(refusal));
  }
  if (length && *length > 0) reserve(static_cast<size_t>(*length));
  if (phase_ != Phase::body) return;
  arm(read_deadline_, context_.options.body_seconds, &Connection::read_expired);
  const std::string_view expected = request_.header("expect");
  if (!expected.empty() && !equal_ignoring_case(expected, "100-continue")) {
    return refuse(context_.handler.broken(417, "the only expectation that is met is 100-continue"));
  }
  if (!expected.empty() && !http10_ && in_.empty() && !parser_->is_done()) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
}

/// What the parser lets pass and two servers in a row could read in two ways.
std::string Connection::broken_framing(const HttpRequest& head) const {
  if (!http10_ && head.count("host") != 1) return "a request of HTTP/1.1 has exactly one Host header";
  if (head.count("transfer-encoding") > 0) {
    if (head.count("transfer-encoding") > 1 || !equal_ignoring_case(head.header("transfer-encoding"), "chunked")) {
      return "the only Transfer-Encoding that is understood is chunked";
    }
    if (head.count("content-length") > 0) return "a request has a Content-Length or a Transfer-Encoding, not both";
    if (http10_) return "HTTP/1.0 has no Transfer-Encoding";
  }
  if (head.count("content-length") > 1) return "a request has one Content-Length";
  return {};
}

void Connection::reserve(size_t bytes) {
  if (bytes <= reserved_) return;
  const size_t more = bytes - reserved_;
  if (context_.bodies_bytes + more > context_.options.max_bodies_bytes) {
    HttpResponse response = context_.handler.broken(503, "too many large requests at once; try again");
    response.set("Retry-After", "1");
    return refuse(std::move(response));
  }
  context_.bodies_bytes += more;
  reserved_ = bytes;
}

void Connection::dispatch() {
  disarm(read_deadline_);
  phase_ = Phase::answering;
  const uint64_t number = ++answer_;
  begun_ = ended_ = false;
  request_.body = std::move(parser_->get().body());
  // The worker holds the reservation until the handler has parsed the body.
  const auto release = [io = &context_.io, self = shared_from_this(), bytes = std::exchange(reserved_, 0)] {
    asio::post(*io, [self, bytes] { self->context_.bodies_bytes -= bytes; });
  };
  auto answer = std::make_shared<Answer>(shared_from_this(), number);
  context_.submit([&handler = context_.handler, request = std::make_shared<HttpRequest>(std::move(request_)),
                   answer = std::move(answer), release]() mutable {
    handler.handle(std::move(*request), std::move(answer));
    release();
  });
  read_more();  // to see the client leave
}

void Connection::refuse(boost::system::error_code error) {
  int status = 400;
  std::string reason = str("this is no request of HTTP/1.1: ", error.message());
  if (error == http::error::header_limit) {
    status = 431;
    reason = str("the request's header is longer than ", context_.options.max_header_bytes, " bytes");
  } else if (error == http::error::body_limit) {
    status = 413;
    reason = str("the request's body is longer than ", context_.options.max_body_bytes, " bytes");
  } else if (error == http::error::bad_version) {
    status = 505;
    reason = "the versions that are understood are HTTP/1.1 and HTTP/1.0";
  }
  refuse(context_.handler.broken(status, reason));
}

void Connection::refuse(HttpResponse response) {
  disarm(read_deadline_);
  phase_ = Phase::answering;
  ++answer_;
  begun_ = ended_ = false;
  response.close = true;
  send(response);
}

void Connection::read_expired() {
  if (phase_ == Phase::lingering || (phase_ == Phase::idle && in_.empty())) return close();
  const std::string_view what = phase_ == Phase::body ? "body" : "header";
  refuse(context_.handler.broken(408, str("the request's ", what, " did not come in time")));
}

void Connection::write_expired() {
  close();
}

void Connection::put_head(const HttpResponse& response, bool stream) {
  chunked_ = stream && !http10_;
  // HTTP/1.0 has no chunks: the end of the connection is the end of the stream.
  if (response.close || context_.draining || (stream && http10_)) keep_alive_ = false;
  out_ += str("HTTP/1.1 ", response.status, ' ', status_text(response.status), "\r\nDate: ", http_date(),
              "\r\nServer: bamba\r\n");
  if (!response.content_type.empty()) out_ += str("Content-Type: ", response.content_type, "\r\n");
  for (const HttpHeader& header : response.headers) out_ += str(header.name, ": ", header.value, "\r\n");
  if (chunked_) out_ += "Transfer-Encoding: chunked\r\n";
  if (!stream && response.status != 204) out_ += str("Content-Length: ", response.body.size(), "\r\n");
  if (!keep_alive_) out_ += "Connection: close\r\n";
  if (keep_alive_ && http10_) out_ += "Connection: keep-alive\r\n";
  out_ += "\r\n";
}

void Connection::send(const HttpResponse& response) {
  if (begun_ || ended_) return;
  begun_ = ended_ = true;
  disconnected_ = nullptr;
  put_head(response, false);
  if (!head_only_ && response.status != 204) out_ += response.body;
  flush();
}

void Connection::begin_stream(const HttpResponse& head) {
  if (begun_ || ended_) return;
  begun_ = true;
  events_ = head.content_type.starts_with("text/event-stream");
  put_head(head, true);
  flush();
}

void Connection::write(const std::string& chunk) {
  if (!begun_ || ended_ || chunk.empty()) return;
  // Of what came before: one chunk may be larger than the bound.
  if (out_.size() + writing_.size() > context_.options.max_stream_bytes) return close();
  if (chunked_) {
    std::ostringstream size;
    size << std::hex << chunk.size();
    out_ += size.str() + "\r\n" + chunk + "\r\n";
  } else {
    out_ += chunk;
  }
  flush();
}

void Connection::end() {
  if (!begun_ || ended_) return;
  ended_ = true;
  disconnected_ = nullptr;
  if (chunked_) out_ += "0\r\n\r\n";
  flush();
  if (out_.empty() && writing_.empty()) answered();
}

void Connection::on_disconnect(std::function<void()> callback) {
  disconnected_ = std::move(callback);
}

void Connection::flush() {
  if (!writing_.empty() || out_.empty() || phase_ == Phase::closed) return;
  writing_.swap(out_);
  arm(write_deadline_, context_.options.write_seconds + static_cast<double>(writing_.size()) / kSlowestBytesPerSecond,
      &Connection::write_expired);
  asio::async_write(socket_, asio::buffer(writing_),
                    [self = shared_from_this()](boost::system::error_code error, size_t) { self->written(error); });
}

void Connection::written(boost::system::error_code error) {
  writing_.clear();
  disarm(write_deadline_);
  if (phase_ == Phase::closed) return;
  if (error) return close();
  if (!out_.empty()) return flush();
  if (phase_ == Phase::answering && ended_) answered();
}

void Connection::answered() {
  if (!keep_alive_ || context_.draining) return linger();
  phase_ = Phase::idle;
  parser_.reset();
  request_ = HttpRequest();
  arm(read_deadline_, context_.options.idle_seconds, &Connection::read_expired);
  // Not from here: a thousand small requests sent at once would nest as deep.
  asio::post(context_.io, [self = shared_from_this()] {
    if (self->phase_ == Phase::idle) self->parse();
  });
}

void Connection::linger() {
  phase_ = Phase::lingering;
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  arm(read_deadline_, kLingerSeconds, &Connection::read_expired);
  in_.clear();
  read_more();
}

}  // namespace bamba::server
