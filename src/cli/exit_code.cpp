#include "cli/exit_code.h"

namespace bamba::cli {

ExitCode exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::unsupported:
      return ExitCode::usage;
    case ErrorCode::invalid_config:
    case ErrorCode::invalid_checkpoint:
    case ErrorCode::invalid_tokenizer:
    case ErrorCode::invalid_file:
      return ExitCode::bad_file;
    case ErrorCode::io:
      return ExitCode::io;
    case ErrorCode::out_of_memory:
      return ExitCode::out_of_memory;
    case ErrorCode::non_finite:
      return ExitCode::non_finite;
    case ErrorCode::cancelled:
      return ExitCode::interrupted;
    case ErrorCode::busy:
    case ErrorCode::timeout:
    case ErrorCode::internal:
      break;
  }
  return ExitCode::failure;
}

const char* exit_code_help() {
  return "Exit codes: 0 done; 1 failed; 2 wrong usage (unknown flag, value out of range, not supported);\n"
         "3 a config, checkpoint, tokenizer, state or input file cannot be used; 4 reading or writing failed;\n"
         "5 out of memory; 6 the model's numbers are NaN or infinite; 130 stopped by Ctrl-C (output so far is kept).";
}

}  // namespace bamba::cli
