// What a line of a batch file may set for itself.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fnv.h"
#include "base/json.h"

namespace bamba::cli {

/// Empty: as the command line and generation_config.json say.
struct LineOptions {
  std::optional<int64_t> max_new_tokens, num_return_sequences, top_k;
  std::optional<double> temperature, top_p, min_p;
  std::optional<bool> do_sample;
  std::optional<uint64_t> seed;
  std::optional<std::vector<std::string>> stop;

  bool empty() const;
  void overlay(GenerationConfig& config) const;
};

/// Of a batch file's line: "max_new_tokens" (or "max_tokens"), "num_return_sequences" (or "n"), "do_sample",
/// "temperature", "top_k", "top_p", "min_p", "seed", "stop" (a string or a list). Other keys are the writer's own.
/// Throws Error(invalid_file) that names the line and the key.
LineOptions line_options(const Json& line, const std::string& where);

/// Adds all that a config makes of a prompt, the seed aside, to a hash.
void add_to_hash(Fnv1a& hash, const GenerationConfig& config);

}  // namespace bamba::cli
