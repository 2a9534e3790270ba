// What a prompt and its config come to before anything is run: the same for generate() and for the engine.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <vector>

#include "generation/text.h"

namespace bamba {

/// The most tokens that the prompt and its new tokens have together. `prompt` is its number, for the message of
/// Error(invalid_argument) where max_length leaves no room.
int64_t max_length_for(const GenerationConfig& config, size_t prompt, int64_t prompt_length);

/// The ids to run: bos for an empty prompt. Throws Error(invalid_argument) for ids out of range, and for an empty
/// prompt without a bos.
std::vector<int64_t> checked_ids(const std::vector<int64_t>& ids, size_t prompt, const GenerationConfig& config,
                                 int64_t vocab_size);

/// Throws Error(invalid_argument) for stop strings without a tokenizer.
StopRules stop_rules(const GenerationConfig& config, const TextTools& tools);

}  // namespace bamba
