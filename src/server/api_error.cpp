#include "server/api_error.h"

namespace bamba::server {
namespace {

std::string_view type_of(int status) {
  if (status == 401) return "authentication_error";
  if (status == 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

}  // namespace

Json ApiError::json() const {
  Json error;
  error["message"] = what();
  error["type"] = type_of(status_);
  error["param"] = param_.empty() ? Json() : Json(param_);
  error["code"] = code_.empty() ? Json() : Json(code_);
  return error;
}

HttpResponse ApiError::response() const {
  HttpResponse response;
  response.status = status_;
  Json body;
  body["error"] = json();
  response.body = json_text(body);
  if (status_ == 429 || status_ == 503) response.set("Retry-After", "1");
  // OpenAI's clients try again after 408; the same request would only run into the same limit.
  if (code_ == "timeout") response.set("x-should-retry", "false");
  if (status_ == 401) response.set("WWW-Authenticate", "Bearer");
  return response;
}

ApiError api_error(const Error& error) {
  const std::string code(error_code_name(error.code()));
  switch (error.code()) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported:
      return {400, error.what(), {}, code};
    case ErrorCode::busy:
      return {429, error.what(), {}, "queue_full"};
    case ErrorCode::timeout:
      return {408, error.what(), {}, code};
    case ErrorCode::out_of_memory:
    case ErrorCode::cancelled:
      return {503, error.what(), {}, code};
    default:
      return {500, error.what(), {}, code};
  }
}

std::string json_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace bamba::server
