// Where prompts come from: -p, --ids, --batch-file or stdin.
#pragma once

#include <bamba/tokenizer.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/line_options.h"

namespace bamba::cli {

struct Prompt {
  std::string text;  ///< as given; empty when ids were given
  std::vector<int64_t> ids;
  std::string where;         ///< for messages: the flag, or the file and its line
  LineOptions options = {};  ///< of a batch file's line
};

struct PromptFlags {
  std::vector<std::string> texts;
  std::vector<std::string> ids;
  std::string batch_file;
  bool add_special_tokens = true;
};

/// Needs a tokenizer only where there is text; `tokenizer` may be null otherwise. All ids are held against the model's
/// vocabulary here, so that line 900 of a file does not fail after 899 have been answered. Errors name the line.
std::vector<Prompt> read_prompts(const PromptFlags& flags, const Tokenizer* tokenizer,
                                 const std::filesystem::path& model, int64_t vocab_size);

}  // namespace bamba::cli
