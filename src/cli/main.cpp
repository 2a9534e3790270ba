// bamba: the program. Reads the command line, runs one subcommand, turns errors into one line and an exit code.
#include <bamba/error.h>
#include <bamba/progress.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/help_format.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

/// Number of single-character edits between two words (Levenshtein), for "did you mean".
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = 1 + word.size() / 3;  // further away is no typing mistake
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance <= best_distance && (best.empty() || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

/// What to say about words that nothing on the command line takes.
std::string unexpected_words(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  const CLI::App& command = chosen.empty() ? program : *chosen.front();
  const auto words = program.remaining(true);
  if (words.empty()) return "unexpected argument";
  std::string word = words.front();
  for (const std::string& candidate : words) {
    if (candidate.starts_with('-')) {
      word = candidate;
      break;
    }
  }
  word = word.substr(0, word.find('='));
  std::vector<std::string> known;
  if (word.starts_with('-')) {
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  } else if (chosen.empty()) {
    for (const CLI::App* subcommand : program.get_subcommands(nullptr)) known.push_back(subcommand->get_name());
  }
  const std::string kind = word.starts_with('-') ? "flag" : chosen.empty() ? "subcommand" : "argument";
  std::string message = "unknown " + kind + " '" + word + "'";
  if (!chosen.empty()) message += " of bamba " + command.get_name();
  if (const std::string guess = closest(word, known); !guess.empty()) message += "; did you mean " + guess + "?";
  return message;
}

ExitCode usage_error(const CLI::App& program, const std::string& message) {
  print_error(message);
  const auto chosen = program.get_subcommands();
  const std::string name = chosen.empty() ? "" : " " + chosen.front()->get_name();
  print_note("bamba" + name + " --help lists what is accepted");
  return ExitCode::usage;
}

ExitCode run(int argc, char** argv) {
  CLI::App program{"Runs Bamba (hybrid Mamba-2 + attention) language models.", "bamba"};
  program.set_version_flag("--version", std::string("bamba ") + BAMBA_VERSION);
  program.set_help_flag("-h,--help", "Show this help");
  program.formatter(std::make_shared<HelpFormat>());  // subcommands inherit it
  program.get_formatter()->column_width(36);
  program.require_subcommand(0, 1);
  program.footer(std::string("Examples:\n"
                             "  bamba generate -p \"Once upon a time\"     write on from a prompt (demo model)\n"
                             "  bamba chat -m ~/models/Bamba-9B-v2       talk to a model\n"
                             "  bamba generate --help                    every subcommand has its own help\n\n") +
                 exit_code_help());
  Command chosen;
  add_generate(program, chosen);
  add_chat(program, chosen);
#ifdef BAMBA_SERVER
  add_serve(program, chosen);
#endif
  add_forward(program, chosen);
  add_tokenize(program, chosen);
  add_info(program, chosen);
  add_eval(program, chosen);
  add_bench(program, chosen);
  add_init(program, chosen);
  add_quantize(program, chosen);

  try {
    program.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    return usage_error(program, unexpected_words(program));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::Success)) return usage_error(program, error.what());
    Output out;
    const auto subcommands = program.get_subcommands();
    if (dynamic_cast<const CLI::CallForVersion*>(&error) != nullptr) {
      out.line(error.what());
    } else {
      out.write(subcommands.empty() ? program.help() : subcommands.front()->help("bamba"));
    }
    out.commit();
    return ExitCode::ok;
  }
  if (!chosen) {
    std::fputs(program.help().c_str(), stderr);
    return ExitCode::usage;
  }
  return chosen();
}

ExitCode run_guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const BrokenPipe&) {
    return ExitCode::ok;
  } catch (const Error& error) {
    print_error(error.what());
    return exit_code_of(error.code());
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return ExitCode::out_of_memory;
  } catch (const std::exception& error) {
    print_error(error.what());
    return ExitCode::failure;
  }
}

}  // namespace
}  // namespace bamba::cli

int main(int argc, char** argv) {
  using namespace bamba::cli;
  install_interrupt_handler();
  bamba::set_warning_handler([](std::string_view message) { print_warning(message); });
  return static_cast<int>(run_guarded(argc, argv));
}
