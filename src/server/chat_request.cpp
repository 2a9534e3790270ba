#include "server/chat_request.h"

#include <algorithm>
#include <span>

#include "base/str.h"
#include "server/api_error.h"
#include "server/constraint_fields.h"
#include "server/sampling_fields.h"
#include "server/stream_fields.h"
#include "tokenizer/utf8.h"

namespace bamba::server {
namespace {

// Snapshots are wanted behind the first messages (the system prompt and examples, which many conversations share) and
// the last (which the next request of this one shares); finding each end costs a rendering.
constexpr size_t kFirstEnds = 2;
constexpr size_t kLastEnds = 4;

std::string read_content(const Json& message, const std::string& param) {
  const Fields fields(message, param + '.');
  const Json* content = fields.find("content");
  if (content == nullptr) {
    throw ApiError(400, str(param, " has no content"), fields.path("content"), "missing");
  }
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    throw ApiError(400,
                   str(param, ".content is ", content->type_name(), " where a string or a list of parts is needed"),
                   fields.path("content"), "invalid_type");
  }
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const Json& item = (*content)[i];
    const std::string name = str(param, ".content[", i, ']');
    if (!item.is_object()) throw ApiError(400, str(name, " is no object"), name, "invalid_type");
    const Fields part(item, name + '.');
    if (part.string("type") != "text") {
      throw ApiError(400, str(name, ": this model reads parts of type \"text\" only"), part.path("type"),
                     "unsupported_content");
    }
    const std::optional<std::string> piece = part.string("text");
    if (!piece) throw ApiError(400, str(name, " has no text"), part.path("text"), "missing");
    text += *piece;
  }
  return text;
}

std::vector<ChatMessage> read_messages(const Fields& fields) {
  const Json* list = fields.array("messages");
  if (list == nullptr || list->empty()) {
    throw ApiError(400, "messages must hold at least one message", "messages", "missing");
  }
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string param = str("messages[", i, ']');
    const Json& item = (*list)[i];
    if (!item.is_object()) throw ApiError(400, str(param, " is no object"), param, "invalid_type");
    const Fields message(item, param + '.');
    for (const char* name : {"tool_calls", "function_call"}) {
      const Json* calls = message.find(name);
      if (calls != nullptr && !calls->empty()) {
        throw ApiError(400, str(param, ".", name, " is not supported"), message.path(name), "unsupported_parameter");
      }
    }
    std::string role = message.string("role").value_or("");
    if (role == "developer") role = "system";  // OpenAI's newer word for it, which templates do not know
    if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
      throw ApiError(400, str(param, ".role must be system, developer, user, assistant or tool"), message.path("role"),
                     "invalid_value");
    }
    messages.push_back({std::move(role), read_content(item, param)});
  }
  return messages;
}

/// Tokens of `encoding` that lie wholly in the first `characters` characters of its text.
int64_t tokens_within(const Encoding& encoding, size_t characters) {
  size_t count = 0;
  while (count < encoding.offsets.size() && static_cast<size_t>(encoding.offsets[count].second) <= characters) ++count;
  return static_cast<int64_t>(count);
}

std::vector<int64_t> message_ends(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                  const std::string& text, const Encoding& encoding) {
  std::vector<int64_t> ends;
  for (size_t count = 1; count <= messages.size(); ++count) {
    if (count > kFirstEnds && count + kLastEnds <= messages.size()) continue;
    std::string part;
    try {
      part = tokenizer.apply_chat_template(messages.first(count), false);
    } catch (const Error&) {
      continue;  // some templates take no conversation that ends here
    }
    const auto differ = std::mismatch(part.begin(), part.end(), text.begin(), text.end());
    auto common = static_cast<size_t>(differ.first - part.begin());
    while (common > 0 && common < text.size() && (text[common] & 0xC0) == 0x80) --common;
    const int64_t tokens = tokens_within(encoding, utf8_count(std::string_view(text).substr(0, common)));
    if (tokens > 0 && (ends.empty() || ends.back() != tokens)) ends.push_back(tokens);
  }
  return ends;
}

void refuse_tools(const Fields& fields) {
  for (const char* name : {"tools", "functions"}) {
    const Json* tools = fields.array(name);
    if (tools != nullptr && !tools->empty() && fields.find("tool_choice") != nullptr &&
        *fields.find("tool_choice") == "none") {
      continue;  // they are not to be called
    }
    if (tools != nullptr && !tools->empty()) {
      throw ApiError(400,
                     str(name,
                         " is not supported: this server does not call tools; response_format with a JSON schema "
                         "makes the model write JSON of a given form"),
                     name, "unsupported_parameter");
    }
  }
  for (const char* name : {"audio", "modalities", "prediction", "web_search_options"}) {
    const Json* value = fields.find(name);
    if (value == nullptr || (value->is_array() && value->size() == 1 && value->front() == "text")) continue;
    throw ApiError(400, str(name, " is not supported"), name, "unsupported_parameter");
  }
}

}  // namespace

ChatPrompt read_chat(const Fields& fields, const ServedModel& model) {
  const Tokenizer& tokenizer = model.require_tokenizer("a conversation");
  const std::vector<ChatMessage> messages = read_messages(fields);
  if (!tokenizer.has_chat_template()) {
    throw ApiError(400, "this model has no chat template; use /v1/completions", "messages", "no_chat_template");
  }
  const bool add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  std::string text;
  try {
    text = tokenizer.apply_chat_template(messages, add_generation_prompt);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument) throw;
    throw ApiError(400, error.what(), "messages", "chat_template_error");
  }
  // The offsets count characters of well-formed text.
  text = utf8_replace_invalid(text);
  model.check_text_size(text.size());
  ChatPrompt prompt;
  Encoding encoding = tokenizer.encode_with_offsets(text, false);
  if (encoding.ids.empty()) throw ApiError(400, "the conversation holds no token", "messages", "invalid_value");
  // Each end costs a rendering: not for a conversation that will be refused.
  if (static_cast<int64_t>(encoding.ids.size()) < model.max_context()) {
    prompt.cache_points = message_ends(tokenizer, messages, text, encoding);
  }
  prompt.ids = std::move(encoding.ids);
  return prompt;
}

ReplyPlan plan_chat(const Json& body, const ServedModel& model, ConstraintCache& constraints) {
  const Fields fields(body);
  ReplyPlan plan;
  plan.chat = true;
  stream_fields(fields, plan);
  refuse_tools(fields);
  plan.logprobs = fields.boolean("logprobs").value_or(false);
  plan.top_logprobs = fields.integer("top_logprobs", 0, model.max_logprobs).value_or(0);
  if (plan.top_logprobs > 0 && !plan.logprobs) {
    throw ApiError(400, "top_logprobs goes with \"logprobs\": true", "top_logprobs", "invalid_value");
  }
  std::optional<int64_t> max_tokens = fields.integer("max_completion_tokens", 1, int64_t{1} << 40);
  const bool newer = max_tokens.has_value();
  if (!newer) max_tokens = fields.integer("max_tokens", 1, int64_t{1} << 40);

  PlannedPrompt& planned = plan.prompts.emplace_back();
  EngineRequest& request = planned.request;
  request.generation = sampling_fields(fields, model);
  request.generation.output_logprobs = plan.logprobs;
  request.generation.top_logprobs = plan.top_logprobs;
  plan.choices = request.generation.num_return_sequences;
  ChatPrompt prompt = read_chat(fields, model);
  request.prompt_ids = std::move(prompt.ids);
  request.cache_points = std::move(prompt.cache_points);
  set_length(request.generation, max_tokens, newer ? "max_completion_tokens" : "max_tokens", model.default_max_tokens,
             static_cast<int64_t>(request.prompt_ids.size()), model);
  request.new_processor = constraints.read(fields, model)(request.prompt_ids.size());
  scheduling_fields(fields, model, request);
  return plan;
}

}  // namespace bamba::server
