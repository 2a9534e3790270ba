#include "server/http_server.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/str.h"
#include "server/http_connection.h"

namespace bamba::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

tcp::endpoint resolve(asio::io_context& io, const HttpServerOptions& options) {
  boost::system::error_code error;
  const asio::ip::address address = asio::ip::make_address(options.host, error);
  if (!error) return {address, options.port};
  tcp::resolver resolver(io);
  const auto results = resolver.resolve(options.host, std::to_string(options.port), error);
  if (error || results.empty()) {
    fail(ErrorCode::io, "--host: ", quote(options.host), " is neither an address nor a name that is known");
  }
  return results.begin()->endpoint();
}

}  // namespace

struct HttpServer::Impl {
  Impl(const HttpServerOptions& given, HttpHandler& handler)
      : options(given),
        context{options, handler, io,
                [this](std::function<void()> function) { asio::post(workers, std::move(function)); },
                [this](Connection* connection) { forget(connection); }},
        acceptor(io),
        retry(io),
        workers(static_cast<size_t>(given.workers)) {
    const tcp::endpoint endpoint = resolve(io, options);
    try {
      acceptor.open(endpoint.protocol());
      acceptor.set_option(tcp::acceptor::reuse_address(true));
      acceptor.bind(endpoint);
      acceptor.listen();
      local = acceptor.local_endpoint();
    } catch (const boost::system::system_error& error) {
      fail(ErrorCode::io, "cannot listen on ", options.host, " port ", options.port, ": ", error.code().message());
    }
    accept();
    thread = std::thread([this] { io.run(); });
  }

  ~Impl() {
    asio::post(io, [this] {
      close_acceptor();
      for (const auto& connection : std::set(connections)) connection->close();
    });
    workers.join();
    {
      const std::lock_guard lock(context.gate->mutex);
      context.gate->open = false;
    }
    guard.reset();
    io.stop();
    thread.join();
  }

  void close_acceptor() {
    boost::system::error_code ignored;
    acceptor.close(ignored);
    retry.cancel();
  }

  void accept() {
    acceptor.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {
        // Out of file descriptors, most likely: trying at once would only burn time.
        retry.expires_after(std::chrono::milliseconds(100));
        retry.async_wait([this](boost::system::error_code stopped) {
          if (!stopped && acceptor.is_open()) accept();
        });
        return;
      }
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      const bool full = static_cast<int64_t>(connections.size()) >= options.max_connections;
      // Those who are turned away are few at a time, too: further ones are dropped without a word.
      if (static_cast<int64_t>(connections.size()) < options.max_connections + 64) {
        auto connection = std::make_shared<Connection>(std::move(socket), context);
        connections.insert(connection);
        open = static_cast<int64_t>(connections.size());
        if (full) {
          HttpResponse response = context.handler.broken(503, "too many connections; try again later");
          response.set("Retry-After", "1");
          connection->turn_away(response);
        } else {
          connection->start();
        }
      }
      accept();
    });
  }

  void forget(Connection* connection) {
    connections.erase(connection->shared_from_this());
    open = static_cast<int64_t>(connections.size());
    check_idle();
  }

  void check_idle() {
    const std::lock_guard lock(mutex);
    if (connections.empty()) idle.notify_all();
  }

  HttpServerOptions options;
  ConnectionContext context;  // outlives what is left in `io`
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(io);
  tcp::acceptor acceptor;
  asio::steady_timer retry;
  asio::thread_pool workers;
  std::set<std::shared_ptr<Connection>> connections;
  std::atomic<int64_t> open = 0;
  tcp::endpoint local;
  std::mutex mutex;
  std::condition_variable idle;
  std::thread thread;
};

HttpServer::HttpServer(const HttpServerOptions& options, HttpHandler& handler)
    : impl_(std::make_unique<Impl>(options, handler)) {}

HttpServer::~HttpServer() = default;

uint16_t HttpServer::port() const {
  return impl_->local.port();
}

std::string HttpServer::url() const {
  const auto address = impl_->local.address();
  const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  return str("http://", host, ':', impl_->local.port());
}

int64_t HttpServer::open_connections() const {
  return impl_->open;
}

void HttpServer::stop_accepting() {
  asio::post(impl_->io, [impl = impl_.get()] {
    impl->close_acceptor();
    impl->context.draining = true;
    for (const auto& connection : std::set(impl->connections)) connection->close_if_idle();
    impl->check_idle();
  });
}

bool HttpServer::wait_until_idle(double seconds) {
  std::unique_lock lock(impl_->mutex);
  return impl_->idle.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return impl_->open == 0; });
}

}  // namespace bamba::server
