// The routes of Api that need the model.
#include <utility>

#include "base/str.h"
#include "server/api.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/constraint_fields.h"
#include "server/json_fields.h"
#include "server/reply.h"

namespace bamba::server {
namespace {

Json model_json(const ServedModel& model, const std::string& name) {
  Json out;
  out["id"] = name;
  out["object"] = "model";
  out["created"] = model.created;
  out["owned_by"] = "bamba";
  out["max_model_len"] = model.max_context();
  out["vocab_size"] = model.config.vocab_size;
  out["chat"] = model.tokenizer != nullptr && model.tokenizer->has_chat_template();
  return out;
}

[[noreturn]] void unknown_model(const std::string& name, const ServedModel& model) {
  throw ApiError(404, str("there is no model ", quote(name), " here; this server has ", quote(model.name())), "model",
                 "model_not_found");
}

}  // namespace

std::shared_ptr<const ServedModel> Api::model_for(const Json& body) const {
  auto served = model();
  if (served == nullptr) throw ApiError(503, "the model is being loaded", {}, "loading");
  const std::optional<std::string> name = Fields(body).string("model");
  if (name && !name->empty() && !served->knows(*name)) unknown_model(*name, *served);
  return served;
}

void Api::models(const HttpRequest& /*request*/, const std::shared_ptr<Exchange>& exchange) {
  const auto served = model();
  Json body;
  body["object"] = "list";
  body["data"] = Json::array();
  for (const std::string& name : served->names) body["data"].push_back(model_json(*served, name));
  exchange->send(body);
}

void Api::one_model(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const auto served = model();
  const std::string name = request.path().value_or("").substr(std::string_view("/v1/models/").size());
  if (!served->knows(name)) unknown_model(name, *served);
  exchange->send(model_json(*served, name));
}

void Api::completions(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const Json body = parse_body(request.body);
  auto served = model_for(body);
  ReplyPlan plan = plan_completion(body, *served, *constraints_);
  Reply::start(std::move(plan), std::move(served), exchange);
}

void Api::chat_completions(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const Json body = parse_body(request.body);
  auto served = model_for(body);
  ReplyPlan plan = plan_chat(body, *served, *constraints_);
  Reply::start(std::move(plan), std::move(served), exchange);
}

void Api::tokenize(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const Json body = parse_body(request.body);
  const auto served = model_for(body);
  const Fields fields(body);
  std::vector<int64_t> ids;
  if (fields.has("messages")) {
    ids = read_chat(fields, *served).ids;
  } else {
    const std::optional<std::string> text = fields.string("prompt");
    if (!text) throw ApiError(400, "prompt (a text) or messages (a conversation) is missing", "prompt", "missing");
    const Tokenizer& tokenizer = served->require_tokenizer("tokenize");
    ids = tokenizer.encode(*text, fields.boolean("add_special_tokens").value_or(true));
  }
  Json out;
  out["count"] = ids.size();
  out["max_model_len"] = served->max_context();
  out["tokens"] = ids;
  if (fields.boolean("return_token_strs").value_or(false)) {
    Json texts = Json::array();
    for (const int64_t id : ids) texts.push_back(served->tokenizer->id_to_token(id).value_or(""));
    out["token_strs"] = std::move(texts);
  }
  exchange->send(out);
}

void Api::detokenize(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
  const Json body = parse_body(request.body);
  const auto served = model_for(body);
  const Fields fields(body);
  const Json* tokens = fields.array("tokens");
  if (tokens == nullptr) throw ApiError(400, "tokens is missing", "tokens", "missing");
  const Tokenizer& tokenizer = served->require_tokenizer("detokenize");
  const std::vector<int64_t> ids = token_ids(*tokens, "tokens", served->config.vocab_size);
  Json out;
  out["prompt"] = tokenizer.decode(ids, fields.boolean("skip_special_tokens").value_or(false));
  exchange->send(out);
}

}  // namespace bamba::server
