#include "cli/constraint_flags.h"

#include "base/file.h"
#include "base/str.h"

namespace bamba::cli {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 20;

/// A schema on the command line begins with a brace; anything else is a file's name.
std::string schema_text(const std::string& given) {
  const size_t first = given.find_first_not_of(" \t\r\n");
  return first != std::string::npos && given[first] == '{' ? given : read_file(given, kMaxFileBytes);
}

const char* flag_name(const ConstraintFlags& flags) {
  return flags.regex ? "--regex" : flags.json_schema ? "--json-schema" : flags.grammar ? "--grammar" : "--json-object";
}

}  // namespace

void add_constraint_flags(CLI::App& command, ConstraintFlags& flags) {
  const std::string group = "What the text must be";
  CLI::Option* const regex =
      command.add_option("--regex", flags.regex, "The new text as a whole matches this regular expression")
          ->type_name("PATTERN")
          ->group(group);
  CLI::Option* const schema = command
                                  .add_option("--json-schema", flags.json_schema,
                                              "JSON that is valid by this schema: a file, or the schema itself")
                                  ->type_name("FILE|{...}")
                                  ->group(group)
                                  ->excludes(regex);
  CLI::Option* const object = command.add_flag("--json-object", flags.json_object, "Some JSON object")
                                  ->group(group)
                                  ->excludes(regex)
                                  ->excludes(schema);
  command.add_option("--grammar", flags.grammar, "What the rule root of this grammar matches (docs/constraints.md)")
      ->type_name("FILE")
      ->group(group)
      ->excludes(regex)
      ->excludes(schema)
      ->excludes(object);
}

std::optional<Constraint> read_constraint(const ConstraintFlags& flags, const ModelFlags& model,
                                          const Tokenizer* tokenizer, std::span<const int64_t> eos_token_ids) {
  if (!flags.any()) return {};
  std::optional<Tokenizer> own;
  if (tokenizer == nullptr) tokenizer = &own.emplace(require_tokenizer(model, flag_name(flags)));
  if (eos_token_ids.empty()) {
    fail(ErrorCode::invalid_argument, flag_name(flags),
         " needs a token that ends the text; give one by --eos-token-id");
  }
  const TokenVocabulary vocabulary(*tokenizer, eos_token_ids);
  if (flags.regex) return Constraint::regex(*flags.regex, vocabulary);
  if (flags.json_schema) return Constraint::json_schema(schema_text(*flags.json_schema), vocabulary);
  if (flags.grammar) return Constraint::grammar(read_file(*flags.grammar, kMaxFileBytes), vocabulary);
  return Constraint::json_object(vocabulary);
}

}  // namespace bamba::cli
