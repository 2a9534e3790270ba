// Runs the built program as a person would, and models for it to work on.
#pragma once

#include <nlohmann/json.hpp>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace bamba::test {

struct ProgramResult {
  int exit_code = -1;  ///< 128 + signal if it died of one
  std::string out;
  std::string err;

  /// The only line of out, or its line `index`, as JSON.
  nlohmann::json json(size_t index = 0) const;
  std::vector<std::string> lines() const;
};

struct ProgramInput {
  std::string stdin_text = {};
  std::string stdout_path = {};  ///< instead of a pipe ("/dev/full")
  uint64_t address_space = 0;    ///< bytes; 0: no limit
};

ProgramResult run_bamba(const std::vector<std::string>& args, const ProgramInput& input = {});

/// Reads `bytes` of the program's output, then sends it `signal_number` (0: closes the pipe instead) and waits.
ProgramResult stop_bamba(const std::vector<std::string>& args, size_t bytes, int signal_number);

/// A tiny model with random weights (bamba init) and the golden Llama-3-style tokenizer, made once per process.
const std::string& tiny_model();
/// The same kind of model without a tokenizer.
const std::string& ids_only_model();

}  // namespace bamba::test
