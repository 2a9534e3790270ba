// How bamba generate shows a sequence: a line of JSON, or text.
#pragma once

#include <bamba/generation.h>

#include <cstdint>
#include <string>

#include "base/json.h"
#include "cli/prompts.h"

namespace bamba::cli {

double per_second(int64_t count, double seconds);

/// `first`: sequences whose first token came with the prompt; decode_seconds are for the tokens after these.
Json timing_json(const GenerateTiming& timing, int64_t first);

/// The line of --json, without its line feed. `index`: the prompt's number.
std::string sequence_json(size_t index, const Prompt& prompt, const GeneratedSequence& sequence, bool with_logprobs,
                          const Json& timing);

/// "=== prompt 2, sequence 0, eos ===".
std::string sequence_header(size_t index, size_t number, const GeneratedSequence& sequence);

/// The new tokens as they are given where there is no tokenizer: "1,2,3".
std::string ids_text(const GeneratedSequence& sequence);

}  // namespace bamba::cli
