// The program's exit codes. Scripts rely on them: they are part of --help and of docs/usage.md.
#pragma once

#include <bamba/error.h>

namespace bamba::cli {

enum class ExitCode : int {
  ok = 0,
  failure = 1,        ///< anything that has no code of its own
  usage = 2,          ///< unknown flag, value out of range, or something that this build does not do
  bad_file = 3,       ///< config, checkpoint, tokenizer, state or input file whose contents cannot be used
  io = 4,             ///< the operating system refused to open, read or write
  out_of_memory = 5,  ///< not enough memory
  non_finite = 6,     ///< the model's numbers are NaN or infinite
  interrupted = 130,  ///< stopped by Ctrl-C; what was written is kept
};

ExitCode exit_code_of(ErrorCode code);

/// The table that --help ends with.
const char* exit_code_help();

}  // namespace bamba::cli
