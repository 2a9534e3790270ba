// bamba generate --batch-file: the prompts of a file, run by an engine, answered in their order.
#pragma once

#include <bamba/generation.h>
#include <bamba/model.h>
#include <bamba/tokenizer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/prompts.h"

namespace bamba::cli {

struct BatchFileWork {
  const std::vector<Prompt>& prompts;
  GenerationConfig config;  ///< of lines that set nothing; line i draws with seed + i
  bool seed_given = false;  ///< or drawn for this run: one that goes on takes the first run's
  int64_t batch_size = 16;  ///< prompts that run together
  std::string output;       ///< -o
  std::string model_name;   ///< tells models apart where a run goes on
  bool json = false, echo = false, timing = false;
};

/// The configs of all lines, checked. Throws Error(invalid_argument | invalid_file) that names the line: before the
/// model is loaded.
std::vector<GenerationConfig> line_configs(const BatchFileWork& work, const BambaConfig& model_config);

/// Writes the answers to `out`, whose file is work.output.
ExitCode run_batch_file(const BatchFileWork& work, const BambaForCausalLM& model,
                        const std::shared_ptr<const Tokenizer>& tokenizer, Output& out);

}  // namespace bamba::cli
