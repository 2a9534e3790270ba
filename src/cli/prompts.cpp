#include "cli/prompts.h"

#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/flags.h"
#include "cli/output.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxPromptBytes = uint64_t{1} << 30;

Prompt from_text(std::string text, std::string where, const PromptFlags& flags, const Tokenizer* tokenizer,
                 const std::filesystem::path& model) {
  if (tokenizer == nullptr) {
    fail(ErrorCode::invalid_argument, "a prompt in text needs a tokenizer, and ", model.string(),
         " has no tokenizer.json; give --ids instead");
  }
  Prompt prompt{std::move(text), {}, std::move(where), {}};
  prompt.ids = tokenizer->encode(prompt.text, flags.add_special_tokens);
  return prompt;
}

Prompt from_line(const Json& line, const std::string& where, const PromptFlags& flags, const Tokenizer* tokenizer,
                 const std::filesystem::path& model) {
  const bool has_prompt = line.is_object() && line.contains("prompt");
  const bool has_ids = line.is_object() && line.contains("ids");
  if (has_prompt == has_ids) {
    fail(ErrorCode::invalid_file, where, R"(: each line is {"prompt": "text"} or {"ids": [1, 2, 3]})");
  }
  if (has_prompt) {
    if (!line["prompt"].is_string()) fail(ErrorCode::invalid_file, where, ": \"prompt\" must be a string");
    return from_text(line["prompt"].get<std::string>(), where, flags, tokenizer, model);
  }
  Prompt prompt{"", {}, where, {}};
  if (!line["ids"].is_array()) fail(ErrorCode::invalid_file, where, ": \"ids\" must be a list of whole numbers");
  for (const Json& id : line["ids"]) {
    if (!id.is_number_integer()) fail(ErrorCode::invalid_file, where, ": \"ids\" must be a list of whole numbers");
    if (id.is_number_unsigned() && id.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      fail(ErrorCode::invalid_file, where, ": ", id.get<uint64_t>(), " in \"ids\" is no token id");
    }
    prompt.ids.push_back(id.get<int64_t>());
  }
  return prompt;
}

std::vector<Prompt> from_file(const PromptFlags& flags, const Tokenizer* tokenizer,
                              const std::filesystem::path& model) {
  const std::string text =
      flags.batch_file == "-" ? read_stdin("prompts", kMaxPromptBytes) : read_file(flags.batch_file, kMaxPromptBytes);
  const std::string name = flags.batch_file == "-" ? "stdin" : flags.batch_file;
  std::vector<Prompt> prompts;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = str(name, ", line ", number);
    const Json object = parse_json(line, where, ErrorCode::invalid_file);
    prompts.push_back(from_line(object, where, flags, tokenizer, model));
    prompts.back().options = line_options(object, where);
  }
  if (prompts.empty()) fail(ErrorCode::invalid_file, name, ": holds no prompt");
  return prompts;
}

std::vector<Prompt> from_flags(const PromptFlags& flags, const Tokenizer* tokenizer,
                               const std::filesystem::path& model) {
  std::vector<Prompt> prompts;
  for (const std::string& ids : flags.ids) prompts.push_back({"", parse_ids(ids, "--ids"), "--ids", {}});
  for (const std::string& text : flags.texts)
    prompts.push_back(from_text(text, "-p/--prompt", flags, tokenizer, model));
  if (prompts.empty()) {
    if (tokenizer == nullptr) from_text("", "", flags, tokenizer, model);  // says so before anybody types
    std::string text = read_stdin("the prompt", kMaxPromptBytes);
    // What echo and an editor put at the end is not meant as a part of the prompt.
    if (text.ends_with('\n')) text.pop_back();
    if (text.ends_with('\r')) text.pop_back();
    prompts.push_back(from_text(std::move(text), "stdin", flags, tokenizer, model));
  }
  return prompts;
}

}  // namespace

std::vector<Prompt> read_prompts(const PromptFlags& flags, const Tokenizer* tokenizer,
                                 const std::filesystem::path& model, int64_t vocab_size) {
  auto prompts = flags.batch_file.empty() ? from_flags(flags, tokenizer, model) : from_file(flags, tokenizer, model);
  for (const Prompt& prompt : prompts) {
    for (size_t i = 0; i < prompt.ids.size(); ++i) {
      if (prompt.ids[i] < 0 || prompt.ids[i] >= vocab_size) {
        fail(ErrorCode::invalid_argument, prompt.where, ": token ", i, " is ", prompt.ids[i],
             "; token ids must be in [0, ", vocab_size, ")");
      }
    }
  }
  return prompts;
}

}  // namespace bamba::cli
