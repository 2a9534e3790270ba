// Where prompts come from: -p, --ids, --batch-file or stdin.
#pragma once

#include <bamba/tokenizer.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bamba::cli {

struct Prompt {
  std::string text;  ///< as given; empty when ids were given
  std::vector<int64_t> ids;
};

struct PromptFlags {
  std::vector<std::string> texts;
  std::vector<std::string> ids;
  std::string batch_file;
  bool add_special_tokens = true;
};

/// Needs a tokenizer only where there is text; `tokenizer` may be null otherwise. Errors name the line of the file.
std::vector<Prompt> read_prompts(const PromptFlags& flags, const Tokenizer* tokenizer,
                                 const std::filesystem::path& model);

}  // namespace bamba::cli
