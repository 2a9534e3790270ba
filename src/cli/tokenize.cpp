// bamba tokenize: text to ids and back.
#include <bamba/tokenizer.h>

#include <algorithm>
#include <memory>

#include "base/str.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/json_out.h"
#include "cli/output.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxInputBytes = uint64_t{1} << 31;

struct TokenizeFlags {
  ModelFlags model;
  std::vector<std::string> texts;
  bool decode = false, json = false, no_special_tokens = false, skip_special_tokens = false;
};

/// Ids as a JSON list, or as numbers between commas, spaces or lines.
std::vector<int64_t> ids_from(std::string text) {
  for (char& c : text) {
    if (c == '[' || c == ']' || c == '\n' || c == '\r' || c == '\t' || c == ',') c = ' ';
  }
  std::string list;
  for (size_t begin = text.find_first_not_of(' '); begin != std::string::npos;) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    list.append(list.empty() ? "" : ",").append(text, begin, end - begin);
    begin = text.find_first_not_of(' ', end);
  }
  return parse_ids(list, "--decode");
}

void encode_text(const TokenizeFlags& flags, const Tokenizer& tokenizer, const std::string& text, Output& out) {
  if (flags.json) {
    const Encoding encoding = tokenizer.encode_with_offsets(text, !flags.no_special_tokens);
    Json offsets = Json::array();
    for (const auto& [begin, end] : encoding.offsets) offsets.push_back({begin, end});
    Json line;
    line["ids"] = encoding.ids;
    line["offsets"] = std::move(offsets);
    out.line(json_line(line));
    return;
  }
  for (const int64_t id : tokenizer.encode(text, !flags.no_special_tokens)) {
    const std::string token = tokenizer.decode(std::span(&id, 1));
    out.line(str(id, '\t', json_line(Json(token))));
  }
}

ExitCode run_tokenize(const TokenizeFlags& flags) {
  const Tokenizer tokenizer = require_tokenizer(flags.model, "bamba tokenize");
  Output out;
  std::vector<std::string> texts = flags.texts;
  if (texts.empty()) texts.push_back(read_stdin(flags.decode ? "ids" : "text", kMaxInputBytes));
  for (std::string& text : texts) {
    if (!flags.decode) {
      encode_text(flags, tokenizer, text, out);
      continue;
    }
    const std::string decoded = tokenizer.decode(ids_from(std::move(text)), flags.skip_special_tokens);
    out.line(flags.json ? json_line({{"text", decoded}}) : decoded);
  }
  out.commit();
  return ExitCode::ok;
}

}  // namespace

void add_tokenize(CLI::App& program, Command& chosen) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App& command = *program.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  add_model_flag(command, flags->model);
  command
      .add_option("-p,--text", flags->texts, "The text, or with --decode the ids (repeatable). Default: stdin, whole")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command.add_flag("--decode", flags->decode, "From ids ([1, 2, 3] or 1,2,3) to text");
  command.add_flag("--json", flags->json, "{\"ids\": [...], \"offsets\": [[begin, end], ...]} or {\"text\": \"...\"}");
  command.add_flag("--no-special-tokens", flags->no_special_tokens, "Do not add the tokens that begin a text");
  command.add_flag("--skip-special-tokens", flags->skip_special_tokens, "With --decode: leave special tokens out");
  command.footer(
      "Offsets count Unicode characters. Without --json: one token a line, its id and its text.\n\n"
      "Examples:\n"
      "  bamba tokenize -p \"Hello, world\"\n"
      "  bamba tokenize --json < story.txt\n"
      "  echo '[12, 7, 301]' | bamba tokenize --decode");
  command.callback([flags, &chosen] { chosen = [flags] { return run_tokenize(*flags); }; });
}

}  // namespace bamba::cli
