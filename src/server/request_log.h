// One line for each request, on stderr. Never prompts, replies or keys.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace bamba::server {

enum class LogFormat { text, json, none };

struct RequestRecord {
  std::string id;
  std::string method;
  std::string route;    ///< of the table of routes, not what the client sent
  int status = 0;       ///< 499: the client left
  std::string outcome;  ///< "ok", "disconnected" or an error's code
  double seconds = 0;
  int64_t prompt_tokens = -1;  ///< -1: no completion
  int64_t cached_tokens = 0;
  int64_t completion_tokens = 0;
  double time_to_first_token = 0;
};

class RequestLog {
 public:
  /// Writes to `sink`, a line at a time; empty: stderr.
  explicit RequestLog(LogFormat format, std::function<void(const std::string&)> sink = {});

  void request(const RequestRecord& record);
  /// "listening", "draining" and the like.
  void event(std::string_view name, std::string_view detail);

 private:
  void write(const std::string& line);

  LogFormat format_;
  std::function<void(const std::string&)> sink_;
  std::mutex mutex_;
};

}  // namespace bamba::server
