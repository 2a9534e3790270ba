#include <bamba/error.h>

namespace bamba {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::invalid_config:
      return "invalid_config";
    case ErrorCode::invalid_checkpoint:
      return "invalid_checkpoint";
    case ErrorCode::invalid_tokenizer:
      return "invalid_tokenizer";
    case ErrorCode::invalid_file:
      return "invalid_file";
    case ErrorCode::io:
      return "io";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::non_finite:
      return "non_finite";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::timeout:
      return "timeout";
    case ErrorCode::internal:
      return "internal";
  }
  return "unknown";
}

}  // namespace bamba
