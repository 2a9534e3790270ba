#include "tokenizer/jinja/template.h"

#include "base/json.h"
#include "base/str.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/lexer.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/utf8.h"

namespace bamba::jinja {
namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;

Value from_json(const Json& json) {
  if (json.is_null()) return {};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    List list;
    for (const Json& element : json) list.push_back(from_json(element));
    return list;
  }
  Dict dict;
  for (const auto& [key, value] : json.items()) dict.items.emplace_back(key, from_json(value));
  return dict;
}

std::string render(const Program& program, Dict variables) {
  try {
    return Interpreter::render(program, std::move(variables));
  } catch (const TemplateError& error) {
    fail(ErrorCode::invalid_tokenizer, program.origin, ": the chat template fails: ", error.message);
  }
}

}  // namespace

Template::Template(std::string_view source, std::string origin) {
  if (source.size() > kMaxSourceBytes) {
    fail(ErrorCode::invalid_tokenizer, origin, ": the chat template has ", source.size(), " bytes; at most ",
         kMaxSourceBytes, " are accepted");
  }
  if (!utf8_valid(source)) fail(ErrorCode::invalid_tokenizer, origin, ": the chat template is not UTF-8");
  auto program = std::make_shared<Program>();
  try {
    program->body = parse(source);
  } catch (const SyntaxError& error) {
    fail(ErrorCode::invalid_tokenizer, origin, ": the chat template's line ", error.line, ": ", error.message);
  }
  program->origin = std::move(origin);
  program_ = std::move(program);
}

std::string Template::render_chat(std::span<const ChatMessage> messages, bool add_generation_prompt,
                                  std::span<const std::pair<std::string, std::string>> strings) const {
  List list;
  for (const ChatMessage& message : messages) {
    Dict entry;
    entry.set("role", utf8_replace_invalid(message.role));
    entry.set("content", utf8_replace_invalid(message.content));
    list.emplace_back(std::move(entry));
  }
  Dict variables;
  for (const auto& [name, value] : strings) variables.set(name, value);
  variables.set("messages", std::move(list));
  variables.set("tools", {});
  variables.set("documents", {});
  variables.set("add_generation_prompt", add_generation_prompt);
  return render(*program_, std::move(variables));
}

std::string Template::render_json(std::string_view text) const {
  const Value variables = from_json(parse_json(text, "template variables", ErrorCode::invalid_argument));
  if (!variables.is_dict()) fail(ErrorCode::invalid_argument, "template variables must be a JSON object");
  return render(*program_, variables.dict());
}

}  // namespace bamba::jinja
