// Errors as OpenAI's clients know them: a status and {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <bamba/error.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/json.h"
#include "server/http.h"

namespace bamba::server {

class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string param = {}, std::string code = {})
      : std::runtime_error(message), status_(status), param_(std::move(param)), code_(std::move(code)) {}

  int status() const { return status_; }
  const std::string& code() const { return code_; }
  /// {"message": ..., "type": ..., "param": ..., "code": ...}
  Json json() const;
  /// The whole response, with Retry-After where a later try may do.
  HttpResponse response() const;

 private:
  int status_;
  std::string param_;
  std::string code_;
};

/// What an error of the engine or the library is to a client.
ApiError api_error(const Error& error);

/// Compact; bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json& value);

}  // namespace bamba::server
