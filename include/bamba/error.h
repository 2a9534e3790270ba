// The one exception type of the library's public boundary.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace bamba {

/// What kind of thing went wrong; the program maps it to an exit code, a server to an HTTP status.
enum class ErrorCode {
  invalid_argument,    ///< a value the caller passed (flag, shape, token id, option)
  invalid_config,      ///< config.json or generation_config.json says something impossible
  invalid_checkpoint,  ///< weights missing, surplus, misshapen, truncated or of a wrong type
  invalid_tokenizer,   ///< tokenizer files cannot be used
  invalid_file,        ///< any other file whose contents cannot be used (state files, inputs)
  io,                  ///< the operating system refused to open, read, write, map or rename
  out_of_memory,       ///< memory for the request cannot be had
  non_finite,          ///< NaN or infinite logits: the model's numbers are broken
  unsupported,         ///< understood, but this build or engine does not do it
  cancelled,           ///< the caller asked to stop
  busy,                ///< too many requests wait already; later it may work
  timeout,             ///< the time that the caller gave is over
  internal,            ///< a broken promise of our own code
};

/// Short lower-case name of a code, for logs and JSON ("invalid_argument", ...).
std::string_view error_code_name(ErrorCode code);

/// Thrown by every public function that can fail. what() is one sentence: what was wrong, where, what is accepted.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace bamba
