// A client that sends exactly the bytes it is told to, and reads what HTTP/1.1 servers answer.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace bamba::test {

struct Answer {
  int status = 0;                              ///< 0: the connection ended before a whole answer
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
  nlohmann::json json() const;
  /// The data of the body's server-sent events, without the closing [DONE].
  std::vector<nlohmann::json> events() const;
  bool done() const;  ///< the stream ended with [DONE]
};

class Client {
 public:
  /// Throws std::runtime_error when nobody listens.
  explicit Client(uint16_t port);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// False: the server has closed the connection.
  bool send(const std::string& bytes);
  /// The next answer; `head` for the answer to a HEAD request, which has no body.
  Answer receive(bool head = false, double seconds = 20);
  /// Reads until `text` has come. False: the connection ended, or time is up.
  bool wait_for(const std::string& text, double seconds = 20);
  /// Whether the server closes the connection within this time, whatever it still sends.
  bool closed_within(double seconds);
  void close();
  /// Sends nothing any more, and goes on receiving.
  void half_close();
  /// A receive buffer so small that the server's writes stall early; call before anything is sent.
  static constexpr int kTinyBuffer = 4096;
  Client(uint16_t port, int receive_buffer);

 private:
  bool fill(double seconds);
  int socket_ = -1;
  std::string in_;
};

using Headers = std::vector<std::pair<std::string, std::string>>;
/// One request, with Host, and Content-Length when there is a body.
std::string request_text(const std::string& method, const std::string& target, const std::string& body = "",
                         const Headers& headers = {});
/// The same on a connection of its own.
Answer fetch(uint16_t port, const std::string& method, const std::string& target, const std::string& body = "",
             const Headers& headers = {});
/// POST with JSON.
Answer post(uint16_t port, const std::string& target, const nlohmann::json& body, Headers headers = {});

}  // namespace bamba::test
