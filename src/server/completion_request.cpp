#include "server/completion_request.h"

#include <algorithm>

#include "base/str.h"
#include "server/api_error.h"
#include "server/constraint_fields.h"
#include "server/json_fields.h"
#include "server/sampling_fields.h"
#include "server/stream_fields.h"

namespace bamba::server {
namespace {

constexpr size_t kMaxPrompts = 1024;
// OpenAI's default for this route.
constexpr int64_t kDefaultTokens = 16;

struct Prompt {
  std::string text;
  std::vector<int64_t> ids;
  bool is_text = false;
};

[[noreturn]] void wrong_prompt() {
  throw ApiError(400, "prompt must be a string, a list of strings, a list of token ids or a list of such lists",
                 "prompt", "invalid_type");
}

std::vector<Prompt> read_prompts(const Json* field, const ServedModel& model, bool add_special_tokens) {
  if (field == nullptr) throw ApiError(400, "prompt is missing", "prompt", "missing");
  std::vector<Prompt> prompts;
  const auto add_text = [&](const Json& text) {
    const Tokenizer& tokenizer = model.require_tokenizer("a prompt in text");
    Prompt& prompt = prompts.emplace_back();
    prompt.text = text.get<std::string>();
    model.check_text_size(prompt.text.size());
    prompt.ids = tokenizer.encode(prompt.text, add_special_tokens);
    prompt.is_text = true;
  };
  const auto add_ids = [&](const Json& ids) {
    prompts.emplace_back().ids = token_ids(ids, "prompt", model.config.vocab_size);
  };
  if (field->is_string()) {
    add_text(*field);
    return prompts;
  }
  if (!field->is_array()) wrong_prompt();
  if (field->empty()) throw ApiError(400, "prompt is an empty list", "prompt", "invalid_value");
  if (field->front().is_number()) {
    add_ids(*field);
    return prompts;
  }
  if (field->size() > kMaxPrompts) {
    throw ApiError(400, str("prompt has ", field->size(), " entries; at most ", kMaxPrompts, " are accepted"), "prompt",
                   "invalid_value");
  }
  const bool texts = field->front().is_string();
  for (const Json& item : *field) {
    if (texts ? !item.is_string() : !item.is_array()) wrong_prompt();
    texts ? add_text(item) : add_ids(item);
  }
  return prompts;
}

void read_logprobs(const Fields& fields, const ServedModel& model, ReplyPlan& plan) {
  const Json* field = fields.find("logprobs");
  if (field == nullptr) return;
  // false is what some clients send for "none", and true for "the chosen token's".
  if (field->is_boolean()) {
    plan.logprobs = field->get<bool>();
    return;
  }
  plan.top_logprobs = *fields.integer("logprobs", 0, model.max_logprobs);
  plan.logprobs = true;
}

}  // namespace

ReplyPlan plan_completion(const Json& body, const ServedModel& model, ConstraintCache& constraints) {
  const Fields fields(body);
  ReplyPlan plan;
  stream_fields(fields, plan);
  if (const auto suffix = fields.string("suffix"); suffix && !suffix->empty()) {
    throw ApiError(400, "suffix is not supported: this model cannot fill a gap", "suffix", "unsupported_parameter");
  }
  read_logprobs(fields, model, plan);
  plan.echo = fields.boolean("echo").value_or(false);
  GenerationConfig config = sampling_fields(fields, model);
  plan.choices = config.num_return_sequences;
  const int64_t best_of = fields.integer("best_of", 1, kMaxChoices).value_or(plan.choices);
  if (best_of < plan.choices) {
    throw ApiError(400, str("best_of is ", best_of, "; it must be at least n, ", plan.choices), "best_of",
                   "invalid_value");
  }
  if (best_of > plan.choices && (plan.stream || !config.do_sample)) {
    throw ApiError(400,
                   plan.stream ? "best_of above n cannot be streamed: the best are known at the end"
                               : "best_of above n needs sampling; set temperature above 0",
                   "best_of", "invalid_value");
  }
  std::optional<int64_t> max_tokens = fields.integer("max_tokens", 0, int64_t{1} << 40);
  if (max_tokens == 0) {
    // Prompts are scored this way: with echo and logprobs, and nothing written.
    plan.hide_completion = true;
    max_tokens = 1;
    config.min_new_tokens.reset();
  }
  config.output_logprobs = plan.logprobs;
  config.top_logprobs = plan.top_logprobs;

  const auto prompts = read_prompts(fields.find("prompt"), model, fields.boolean("add_special_tokens").value_or(true));
  if (static_cast<int64_t>(prompts.size()) * best_of > static_cast<int64_t>(kMaxPrompts)) {
    throw ApiError(400,
                   str(prompts.size(), " prompts with ", best_of, " sequences each are more than the ", kMaxPrompts,
                       " sequences that one request may ask for"),
                   "n", "invalid_value");
  }
  const ConstraintMaker constraint = constraints.read(fields, model);
  for (const Prompt& prompt : prompts) {
    PlannedPrompt& planned = plan.prompts.emplace_back();
    EngineRequest& request = planned.request;
    request.prompt_ids = prompt.ids;
    if (request.prompt_ids.empty()) {
      const auto bos = config.bos_token_id;
      if (!bos)
        throw ApiError(400, "prompt is empty, and the model has no token to begin with", "prompt", "invalid_value");
      request.prompt_ids = {*bos};
    }
    request.generation = config;
    set_length(request.generation, max_tokens, "max_tokens", kDefaultTokens,
               static_cast<int64_t>(request.prompt_ids.size()), model);
    request.best_of = best_of > plan.choices ? best_of : 0;
    request.new_processor = constraint(request.prompt_ids.size());
    request.prompt_logprobs = plan.echo && plan.logprobs;
    scheduling_fields(fields, model, request);
    if (!plan.echo) continue;
    planned.echo = prompt.is_text               ? prompt.text
                   : model.tokenizer != nullptr ? model.tokenizer->decode(prompt.ids, true)
                                                : std::string();
    planned.echo_ids = request.prompt_ids;
  }
  return plan;
}

}  // namespace bamba::server
