// The subcommands. Each file adds its flags to the program and, when it is the one chosen, leaves what to run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "cli/exit_code.h"

namespace bamba::cli {

/// What main() runs once the whole command line has been read.
using Command = std::function<ExitCode()>;

void add_generate(CLI::App& program, Command& chosen);
void add_chat(CLI::App& program, Command& chosen);
void add_serve(CLI::App& program, Command& chosen);
void add_forward(CLI::App& program, Command& chosen);
void add_tokenize(CLI::App& program, Command& chosen);
void add_info(CLI::App& program, Command& chosen);
void add_eval(CLI::App& program, Command& chosen);
void add_bench(CLI::App& program, Command& chosen);
void add_init(CLI::App& program, Command& chosen);
void add_quantize(CLI::App& program, Command& chosen);

}  // namespace bamba::cli
