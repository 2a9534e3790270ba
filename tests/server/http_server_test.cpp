// Sockets: framing, pipelining, limits, deadlines, and clients that leave or stall.
#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/str.h"
#include "server/api_fixture.h"
#include "server/client.h"

namespace bamba::test {
namespace {

using server::HttpRequest;
using server::HttpResponse;
using server::HttpServer;
using server::HttpServerOptions;
using server::Responder;

/// Echoes bodies; /hold keeps the answer open, and so does /events after the beginning of a stream; /stream/N streams N
/// chunks, /flood writes without end.
class EchoHandler final : public server::HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const HttpRequest& head) override {
    if (head.target != "/refused") return {};
    HttpResponse response;
    response.status = 404;
    return response;
  }
  HttpResponse broken(int status, std::string_view reason) override {
    HttpResponse response;
    response.status = status;
    response.body = reason;
    return response;
  }
  void handle(HttpRequest request, std::shared_ptr<Responder> responder) override {
    ++handled;
    if (request.target == "/hold" || request.target == "/events") {
      responder->on_disconnect([this] { ++disconnects; });
      if (request.target == "/events") {
        HttpResponse head;
        head.content_type = "text/event-stream";
        responder->begin_stream(head);
      }
      const std::lock_guard lock(mutex);
      held.push_back(std::move(responder));
      return;
    }
    if (request.target == "/abandon") return;
    if (request.target.starts_with("/stream/")) {
      responder->begin_stream({});
      for (int i = 0, n = std::stoi(request.target.substr(8)); i < n; ++i) responder->write(std::to_string(i) + ",");
      responder->end();
      return;
    }
    if (request.target == "/flood") {
      responder->on_disconnect([this] { ++disconnects; });
      responder->begin_stream({});
      for (int i = 0; i < 400 && disconnects == 0; ++i) {
        responder->write(std::string(100000, 'x'));
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      const std::lock_guard lock(mutex);
      held.push_back(std::move(responder));
      return;
    }
    HttpResponse response;
    response.body = request.method + " " + request.target + " " + request.body;
    responder->send(std::move(response));
  }

  /// The answer that is held open longest, taken out.
  std::shared_ptr<Responder> take() {
    EXPECT_TRUE(eventually([this] {
      const std::lock_guard lock(mutex);
      return !held.empty();
    }));
    const std::lock_guard lock(mutex);
    std::shared_ptr<Responder> first = std::move(held.front());
    held.erase(held.begin());
    return first;
  }

  std::atomic<int> handled = 0;
  std::atomic<int> disconnects = 0;
  std::mutex mutex;
  std::vector<std::shared_ptr<Responder>> held;
};

struct Echo {
  explicit Echo(const HttpServerOptions& options = {}) : server(options, handler) {}
  EchoHandler handler;
  HttpServer server;
  uint16_t port() const { return server.port(); }
};

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  Echo echo;
  Client client(echo.port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.send(request_text("POST", "/a", str("body", i))));
    const Answer answer = client.receive();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, str("POST /a body", i));
    EXPECT_FALSE(answer.headers.contains("connection"));
  }
}

TEST(HttpServer, PipelinedRequestsAreAnsweredInOrder) {
  Echo echo;
  Client client(echo.port());
  std::string all;
  for (int i = 0; i < 50; ++i) all += request_text("POST", str("/", i), std::string(i, 'b'));
  all += request_text("GET", "/stream/5") + request_text("GET", "/refused") + request_text("GET", "/last");
  ASSERT_TRUE(client.send(all));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(client.receive().body, str("POST /", i, " ", std::string(i, 'b')));
  }
  EXPECT_EQ(client.receive().body, "0,1,2,3,4,");
  EXPECT_EQ(client.receive().status, 404);
  EXPECT_EQ(client.receive().body, "GET /last ");
}

TEST(HttpServer, BytesMayComeOneByOne) {
  Echo echo;
  Client client(echo.port());
  for (const char c : request_text("POST", "/slow", "0123456789")) ASSERT_TRUE(client.send(std::string(1, c)));
  EXPECT_EQ(client.receive().body, "POST /slow 0123456789");
}

TEST(HttpServer, ChunkedBodiesAreRead) {
  Echo echo;
  Client client(echo.port());
  client.send(
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;note=1\r\n there\r\n0\r\n\r\n");
  EXPECT_EQ(client.receive().body, "POST /c hello there");
  client.send(request_text("GET", "/next"));
  EXPECT_EQ(client.receive().body, "GET /next ");
}

TEST(HttpServer, OldClientsGetTheirStreamUntilTheEndOfTheConnection) {
  Echo echo;
  Client client(echo.port());
  client.send("GET /stream/3 HTTP/1.0\r\n\r\n");
  const Answer answer = client.receive();
  EXPECT_EQ(answer.body, "0,1,2,");
  EXPECT_FALSE(answer.headers.contains("transfer-encoding"));
  EXPECT_EQ(answer.headers.at("connection"), "close");
}

TEST(HttpServer, HeadHasNoBody) {
  Echo echo;
  Client client(echo.port());
  client.send(request_text("HEAD", "/h") + request_text("GET", "/g"));
  const Answer head = client.receive(true);
  EXPECT_EQ(head.headers.at("content-length"), "8");
  EXPECT_EQ(client.receive().body, "GET /g ");
}

TEST(HttpServer, ContinueIsSaidBeforeTheBody) {
  Echo echo;
  Client client(echo.port());
  client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 100);
  client.send("ok");
  EXPECT_EQ(client.receive().body, "POST /e ok");
}

TEST(HttpServer, BrokenRequestsAreRefused) {
  Echo echo;
  const std::vector<std::pair<std::string, int>> broken = {
      {"nonsense\r\n\r\n", 400},
      {"GET /a HTTP/3.7\r\nHost: x\r\n\r\n", 505},
      {"GET /a HTTP/1.1\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400},
      {std::string("GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 30), 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5" + std::string(100000, ';'), 400},
      {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: miracles\r\n\r\nabc", 417}};
  for (const auto& [text, status] : broken) {
    Client client(echo.port());
    client.send(text);
    Answer answer = client.receive();
    EXPECT_EQ(answer.status, status) << text.substr(0, 200);
    EXPECT_EQ(answer.headers["connection"], "close") << text.substr(0, 200);
    EXPECT_TRUE(client.closed_within(10)) << text.substr(0, 200);
  }
  EXPECT_EQ(echo.handler.handled, 0);
}

TEST(HttpServer, LargeHeadersAndBodiesAreRefused) {
  HttpServerOptions options;
  options.max_header_bytes = 2000;
  options.max_body_bytes = 1000;
  Echo echo(options);
  EXPECT_EQ(fetch(echo.port(), "GET", "/a", "", {{"X", std::string(3000, 'x')}}).status, 431);
  EXPECT_EQ(fetch(echo.port(), "POST", "/a", std::string(1001, 'x')).status, 413);
  EXPECT_EQ(fetch(echo.port(), "POST", "/a", std::string(1000, 'x')).status, 200);
  // A body that does not say how long it will be.
  Client client(echo.port());
  client.send("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) client.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(client.receive().status, 413);
}

TEST(HttpServer, BodiesTogetherAreBounded) {
  HttpServerOptions options;
  options.max_bodies_bytes = 1500;
  options.max_body_bytes = 1000;
  Echo echo(options);
  Client first(echo.port());
  first.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegun");
  ASSERT_TRUE(eventually([&] { return fetch(echo.port(), "POST", "/b", std::string(1000, 'x')).status == 503; }));
  EXPECT_EQ(fetch(echo.port(), "POST", "/b", std::string(400, 'x')).status, 200);
  first.close();
  EXPECT_TRUE(eventually([&] { return fetch(echo.port(), "POST", "/b", std::string(1000, 'x')).status == 200; }));
}

TEST(HttpServer, SlowClientsAreDroppedAndHoldUpNobody) {
  HttpServerOptions options;
  options.header_seconds = 0.5;
  options.body_seconds = 0.5;
  options.idle_seconds = 0.5;
  Echo echo(options);
  Client header(echo.port());
  Client body(echo.port());
  Client silent(echo.port());
  Client idle(echo.port());
  header.send("GET /a HTTP/1.1\r\nHost: x\r\n");
  body.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
  idle.send(request_text("GET", "/b"));
  EXPECT_EQ(idle.receive().status, 200);
  // A byte now and then does not put the deadline off.
  bool header_refused = false;
  bool body_refused = false;
  for (int i = 0; i < 50 && !(header_refused && body_refused); ++i) {
    if (!header_refused) header.send("X");
    if (!body_refused) body.send("x");
    EXPECT_EQ(fetch(echo.port(), "GET", "/quick").status, 200);
    header_refused = header.wait_for(" 408 ", 0.03);
    body_refused = body.wait_for(" 408 ", 0.03);
  }
  ASSERT_TRUE(header_refused && body_refused);
  EXPECT_EQ(header.receive().status, 408);
  EXPECT_EQ(body.receive().status, 408);
  EXPECT_TRUE(header.closed_within(5));
  EXPECT_TRUE(body.closed_within(5));
  EXPECT_TRUE(silent.closed_within(5));
  EXPECT_TRUE(idle.closed_within(5));
  EXPECT_TRUE(eventually([&] { return echo.server.open_connections() == 0; }));
}

TEST(HttpServer, SeesClientsLeave) {
  Echo echo;
  {
    Client client(echo.port());
    client.send(request_text("GET", "/hold"));
    ASSERT_TRUE(eventually([&] { return echo.handler.handled == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return echo.handler.disconnects == 1; }));
  EXPECT_TRUE(eventually([&] { return echo.server.open_connections() == 0; }));
  echo.handler.take()->send({});  // too late, and harmless
}

/// The answer after interim ones.
Answer final_answer(Client& client) {
  Answer answer = client.receive();
  while (answer.status == 100) answer = client.receive();
  return answer;
}

TEST(HttpServer, WhoClosesItsSideOnlyGetsItsAnswer) {
  Echo echo;
  HttpResponse response;
  response.body = "late";
  {
    Client client(echo.port());
    client.send(request_text("GET", "/hold"));
    client.half_close();
    // By what is sent meanwhile the server would see that nobody is there any more.
    EXPECT_EQ(client.receive().status, 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(echo.server.open_connections(), 1);
    echo.handler.take()->send(response);
    EXPECT_EQ(final_answer(client).body, "late");
    EXPECT_TRUE(client.closed_within(10));
  }
  {
    Client client(echo.port());
    client.send(request_text("GET", "/events"));
    EXPECT_TRUE(client.wait_for("text/event-stream"));
    client.half_close();
    EXPECT_TRUE(client.wait_for(":\n\n"));
    const auto responder = echo.handler.take();
    responder->write("data: 1\n\n");
    responder->end();
    EXPECT_EQ(client.receive().events(), std::vector<nlohmann::json>{1});
    EXPECT_TRUE(client.closed_within(10));
  }
  {
    Client client(echo.port());
    std::string requests;
    for (int i = 0; i < 50; ++i) {
      requests += request_text("GET", "/a") + request_text("GET", "/stream/3") + request_text("GET", "/refused");
    }
    client.send(requests + request_text("GET", "/b"));
    client.half_close();
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(final_answer(client).body, "GET /a ");
      EXPECT_EQ(final_answer(client).body, "0,1,2,");
      EXPECT_EQ(final_answer(client).status, 404);
    }
    EXPECT_EQ(final_answer(client).body, "GET /b ");
    EXPECT_TRUE(client.closed_within(10));
  }
  EXPECT_EQ(echo.handler.disconnects, 0);
  EXPECT_TRUE(eventually([&] { return echo.server.open_connections() == 0; }));
}

TEST(HttpServer, WhoLeavesAfterClosingItsSideIsSeen) {
  Echo echo;
  int left = 0;
  for (const char* target : {"/hold", "/events"}) {
    Client client(echo.port());
    client.send(request_text("GET", target));
    if (target == std::string("/events")) {
      EXPECT_TRUE(client.wait_for("text/event-stream"));
    }
    client.half_close();
    EXPECT_TRUE(client.wait_for(target == std::string("/hold") ? "100 Continue" : ":\n\n"));
    EXPECT_EQ(echo.handler.disconnects, left);
    client.close();
    // The next thing that is sent meets a reset, as does the one after it.
    const auto responder = echo.handler.take();
    if (target == std::string("/hold")) {
      HttpResponse response;
      response.body = std::string(1 << 20, 'x');
      responder->send(response);
    } else {
      EXPECT_TRUE(eventually([&] {
        responder->write(": still here\n\n");
        return echo.handler.disconnects == 1;
      }));
      ++left;
    }
    EXPECT_TRUE(eventually([&] { return echo.server.open_connections() == 0; }));
  }
  // Nothing can be sent to old clients before their answer: they count as gone.
  Client old(echo.port());
  old.send("GET /hold HTTP/1.0\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return echo.handler.handled == 3; }));
  old.half_close();
  EXPECT_TRUE(eventually([&] { return echo.handler.disconnects == left + 1; }));
  echo.handler.take().reset();
}

TEST(HttpServer, AStreamThatIsNotReadIsDropped) {
  Echo echo;
  Client client(echo.port(), Client::kTinyBuffer);
  client.send(request_text("GET", "/flood"));
  EXPECT_TRUE(eventually([&] { return echo.handler.disconnects == 1; }));
  EXPECT_EQ(fetch(echo.port(), "GET", "/quick").status, 200);
  echo.handler.take().reset();
}

TEST(HttpServer, AnAbandonedAnswerEndsTheConnection) {
  Echo echo;
  Client client(echo.port());
  client.send(request_text("GET", "/abandon"));
  EXPECT_TRUE(client.closed_within(10));
}

// An engine may hold the way to its client a moment longer than the server lives.
TEST(HttpServer, AnAnswerMayOutliveTheServer) {
  std::shared_ptr<Responder> answer;
  std::atomic<int> calls = 0;
  {
    Echo echo;
    Client client(echo.port());
    client.send(request_text("GET", "/hold"));
    answer = echo.handler.take();
  }
  HttpResponse late;
  late.body = "too late";
  answer->send(std::move(late));
  answer->on_disconnect([&] { ++calls; });
  answer->post([&] { ++calls; });
  answer->after(0.001, [&] { ++calls; });
  answer.reset();
  EXPECT_EQ(calls, 0);
}

TEST(HttpServer, ConnectionsAreBounded) {
  HttpServerOptions options;
  options.max_connections = 3;
  Echo echo(options);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(echo.port()));
    clients.back()->send(request_text("GET", "/a"));
    EXPECT_EQ(clients.back()->receive().status, 200);
  }
  Client fourth(echo.port());
  EXPECT_EQ(fourth.receive().status, 503);
  clients.clear();
  EXPECT_TRUE(eventually([&] { return fetch(echo.port(), "GET", "/a").status == 200; }));
}

TEST(HttpServer, StopsAfterTheAnswersThatAreUnderWay) {
  Echo echo;
  Client held(echo.port());
  held.send(request_text("GET", "/hold"));
  Client idle(echo.port());
  idle.send(request_text("GET", "/a"));
  EXPECT_EQ(idle.receive().status, 200);
  ASSERT_TRUE(eventually([&] { return echo.handler.handled == 2; }));
  echo.server.stop_accepting();
  EXPECT_TRUE(idle.closed_within(10));
  EXPECT_FALSE(echo.server.wait_until_idle(0.2));
  EXPECT_THROW(Client late(echo.port()), std::runtime_error);
  HttpResponse last;
  last.body = "last";
  echo.handler.take()->send(std::move(last));
  const Answer answer = held.receive();
  EXPECT_EQ(answer.body, "last");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  held.close();
  EXPECT_TRUE(echo.server.wait_until_idle(20));
}

TEST(HttpServer, AddressesThatCannotBeHadAreNamed) {
  Echo echo;
  HttpServerOptions options;
  options.port = echo.port();
  EchoHandler handler;
  EXPECT_THROW(HttpServer(options, handler), Error);
  options.host = "no.such.name.invalid";
  EXPECT_THROW(HttpServer(options, handler), Error);
}

TEST(HttpRequest, PathsAreDecodedOnce) {
  const auto path = [](const std::string& target) {
    HttpRequest request;
    request.target = target;
    return request.path().value_or("none");
  };
  EXPECT_EQ(path("/a%2Fb%20c?x=%zz"), "/a/b c");
  EXPECT_EQ(path("/%252e"), "/%2e");
  EXPECT_EQ(path("http://host:80/v1/models?x"), "/v1/models");
  EXPECT_EQ(path("http://host"), "/");
  EXPECT_EQ(path("/%"), "none");
  EXPECT_EQ(path("/%4"), "none");
  EXPECT_EQ(path("/%4g"), "none");
  EXPECT_EQ(path("*"), "none");
  EXPECT_EQ(path(""), "none");
}

}  // namespace
}  // namespace bamba::test
