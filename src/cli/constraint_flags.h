// The flags that say what generated text must match.
#pragma once

#include <bamba/constraint.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "cli/flags.h"

namespace bamba::cli {

/// At most one of them is given.
struct ConstraintFlags {
  std::optional<std::string> regex, json_schema, grammar;
  bool json_object = false;

  bool any() const { return regex || json_schema || grammar || json_object; }
};

void add_constraint_flags(CLI::App& command, ConstraintFlags& flags);

/// Nothing when no flag was given. Throws Error(invalid_argument) without a tokenizer or without an end-of-text token,
/// and for what the flag says when it cannot be used.
std::optional<Constraint> read_constraint(const ConstraintFlags& flags, const ModelFlags& model,
                                          const Tokenizer* tokenizer, std::span<const int64_t> eos_token_ids);

}  // namespace bamba::cli
