// Errors as OpenAI's clients know them: a status and {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <bamba/error.h>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "server/http.h"

namespace bamba::server {

/// Holds its own text, unlike std::runtime_error, whose copies share one: these go from thread to thread.
class ApiError : public std::exception {
 public:
  ApiError(int status, std::string message, std::string param = {}, std::string code = {})
      : status_(status), message_(std::move(message)), param_(std::move(param)), code_(std::move(code)) {}

  const char* what() const noexcept override { return message_.c_str(); }

  int status() const { return status_; }
  const std::string& code() const { return code_; }
  /// {"message": ..., "type": ..., "param": ..., "code": ...}
  Json json() const;
  /// The whole response, with Retry-After where a later try may do.
  HttpResponse response() const;

 private:
  int status_;
  std::string message_;
  std::string param_;
  std::string code_;
};

/// What an error of the engine or the library is to a client.
ApiError api_error(const Error& error);

/// Compact; bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json& value);

}  // namespace bamba::server
