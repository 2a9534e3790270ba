#include "server/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>

namespace bamba::test {
namespace {

using Clock = std::chrono::steady_clock;

double until(Clock::time_point end) {
  return std::chrono::duration<double>(end - Clock::now()).count();
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

nlohmann::json Answer::json() const {
  return nlohmann::json::parse(body);
}

std::vector<nlohmann::json> Answer::events() const {
  std::vector<nlohmann::json> out;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = body.find("\n\n", begin);
    if (end == std::string::npos) throw std::runtime_error("an event without its end: " + body.substr(begin));
    const std::string event = body.substr(begin, end - begin);
    begin = end + 2;
    if (event.starts_with("data: ") && event != "data: [DONE]") out.push_back(nlohmann::json::parse(event.substr(6)));
  }
  return out;
}

bool Answer::done() const {
  return body.ends_with("data: [DONE]\n\n");
}

Client::Client(uint16_t port) : Client(port, 0) {}

Client::Client(uint16_t port, int receive_buffer) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    close();
    throw std::runtime_error("nobody listens");
  }
}

Client::~Client() {
  close();
}

void Client::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void Client::half_close() {
  ::shutdown(socket_, SHUT_WR);
}

bool Client::send(const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

bool Client::fill(double seconds) {
  pollfd poll_for{socket_, POLLIN, 0};
  if (seconds <= 0 || ::poll(&poll_for, 1, static_cast<int>(seconds * 1000) + 1) <= 0) return false;
  char chunk[65536];
  const ssize_t n = ::recv(socket_, chunk, sizeof chunk, 0);
  if (n <= 0) return false;
  in_.append(chunk, static_cast<size_t>(n));
  return true;
}

bool Client::wait_for(const std::string& text, double seconds) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (in_.find(text) == std::string::npos) {
    if (!fill(until(end))) return false;
  }
  return true;
}

bool Client::closed_within(double seconds) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (true) {
    const double left = until(end);
    if (left <= 0) return false;
    if (!fill(left)) return until(end) > 0;
  }
}

Answer Client::receive(bool head, double seconds) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  const auto need = [&](size_t bytes) {
    while (in_.size() < bytes) {
      if (!fill(until(end))) return false;
    }
    return true;
  };
  const auto need_text = [&](const std::string& text, size_t from) {
    while (in_.find(text, from) == std::string::npos) {
      if (!fill(until(end))) return std::string::npos;
    }
    return in_.find(text, from);
  };
  Answer answer;
  const size_t head_end = need_text("\r\n\r\n", 0);
  if (head_end == std::string::npos) return {};
  const std::string head_text = in_.substr(0, head_end + 2);
  in_.erase(0, head_end + 4);
  for (size_t begin = head_text.find("\r\n") + 2; begin < head_text.size();) {
    const size_t line_end = head_text.find("\r\n", begin);
    const std::string line = head_text.substr(begin, line_end - begin);
    const size_t colon = line.find(": ");
    answer.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    begin = line_end + 2;
  }
  const int status = std::stoi(head_text.substr(9, 3));
  if (answer.headers.contains("transfer-encoding")) {
    while (true) {
      const size_t line_end = need_text("\r\n", 0);
      if (line_end == std::string::npos) return answer;
      const size_t size = std::stoul(in_.substr(0, line_end), nullptr, 16);
      if (!need(line_end + 2 + size + 2)) return answer;
      answer.body += in_.substr(line_end + 2, size);
      in_.erase(0, line_end + 2 + size + 2);
      if (size == 0) break;
    }
  } else if (answer.headers.contains("content-length")) {
    const size_t size = head ? 0 : std::stoul(answer.headers["content-length"]);
    if (!need(size)) return answer;
    answer.body = in_.substr(0, size);
    in_.erase(0, size);
  } else if (status != 204 && status != 100) {  // until the connection ends
    while (fill(until(end))) continue;
    answer.body = std::exchange(in_, {});
  }
  answer.status = status;
  return answer;
}

std::string request_text(const std::string& method, const std::string& target, const std::string& body,
                         const Headers& headers) {
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

Answer fetch(uint16_t port, const std::string& method, const std::string& target, const std::string& body,
             const Headers& headers) {
  Client client(port);
  client.send(request_text(method, target, body, headers));
  return client.receive(method == "HEAD");
}

Answer post(uint16_t port, const std::string& target, const nlohmann::json& body, Headers headers) {
  headers.emplace_back("Content-Type", "application/json");
  return fetch(port, "POST", target, body.dump(), headers);
}

}  // namespace bamba::test
