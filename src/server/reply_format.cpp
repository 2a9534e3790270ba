#include "server/reply_format.h"

#include <ctime>
#include <random>
#include <utility>

namespace bamba::server {
namespace {

std::string_view reason_name(FinishReason reason) {
  return reason == FinishReason::length ? "length" : "stop";
}

}  // namespace

std::string random_id() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::random_device device;
  std::string out;
  while (out.size() < 24) {
    for (uint32_t word = device(), i = 0; i < 8; ++i, word >>= 4) out += kDigits[word & 15];
  }
  return out;
}

ReplyFormat::ReplyFormat(const ReplyPlan& plan, const ServedModel& model)
    : plan_(plan),
      model_(model),
      id_((plan.chat ? "chatcmpl-" : "cmpl-") + random_id()),
      created_(std::time(nullptr)),
      streamed_(plan.stream && !plan.chat ? plan.prompts.size() * static_cast<size_t>(plan.choices) : 0,
                CompletionLogprobs(model.tokenizer.get())) {}

Json ReplyFormat::head(std::string_view object) const {
  Json out;
  out["id"] = id_;
  out["object"] = object;
  out["created"] = created_;
  out["model"] = model_.name();
  out["system_fingerprint"] = model_.fingerprint;
  return out;
}

void ReplyFormat::add_prompt(CompletionLogprobs& logprobs, const PlannedPrompt& prompt,
                             std::span<const TokenLogprob> prompt_logprobs) const {
  for (size_t i = 0; i < prompt.echo_ids.size(); ++i) {
    logprobs.add(prompt.echo_ids[i], i == 0 || i > prompt_logprobs.size() ? nullptr : &prompt_logprobs[i - 1]);
  }
}

Json ReplyFormat::choice(size_t index, const PlannedPrompt& prompt, const GeneratedSequence& sequence,
                         std::span<const TokenLogprob> prompt_logprobs) {
  const std::string text = plan_.hide_completion ? std::string() : sequence.text;
  const size_t tokens = plan_.hide_completion ? 0 : sequence.ids.size();
  Json out;
  out["index"] = index;
  Json logprobs;
  if (plan_.chat) {
    out["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
    if (plan_.logprobs) {
      Json content = Json::array();
      for (size_t i = 0; i < tokens; ++i) {
        content.push_back(chat_logprob(model_.tokenizer.get(), sequence.ids[i], sequence.logprobs[i]));
      }
      logprobs["content"] = std::move(content);
      logprobs["refusal"] = nullptr;
    }
  } else {
    out["text"] = prompt.echo + text;
    if (plan_.logprobs) {
      CompletionLogprobs list(model_.tokenizer.get());
      if (plan_.echo) add_prompt(list, prompt, prompt_logprobs);
      for (size_t i = 0; i < tokens; ++i) list.add(sequence.ids[i], &sequence.logprobs[i]);
      logprobs = list.take();
    }
  }
  out["logprobs"] = std::move(logprobs);
  out["finish_reason"] = plan_.hide_completion ? "length" : reason_name(sequence.finish_reason);
  if (plan_.token_ids) out["token_ids"] = std::vector(sequence.ids.begin(), sequence.ids.begin() + tokens);
  return out;
}

Json ReplyFormat::answer(std::vector<Json> choices, const EngineUsage& total) const {
  Json out = head(plan_.chat ? "chat.completion" : "text_completion");
  out["choices"] = std::move(choices);
  out["usage"] = usage(total);
  out["timings"] = timings(total);
  return out;
}

Json ReplyFormat::event(Json choice) const {
  Json out = head(plan_.chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = Json::array({std::move(choice)});
  if (plan_.include_usage) out["usage"] = nullptr;
  return out;
}

Json ReplyFormat::first_event(size_t index, const PlannedPrompt& prompt,
                              std::span<const TokenLogprob> prompt_logprobs) {
  Json choice;
  choice["index"] = index;
  Json logprobs;
  if (plan_.chat) {
    choice["delta"] = {{"role", "assistant"}, {"content", ""}};
  } else {
    if (!plan_.echo) return {};
    choice["text"] = prompt.echo;
    if (plan_.logprobs) {
      add_prompt(streamed_[index], prompt, prompt_logprobs);
      logprobs = streamed_[index].take();
    }
  }
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = nullptr;
  return event(std::move(choice));
}

Json ReplyFormat::token_event(size_t index, int64_t id, const std::string& text, const TokenLogprob* logprob) {
  if (plan_.hide_completion || (text.empty() && !plan_.logprobs && !plan_.token_ids)) return {};
  Json choice;
  choice["index"] = index;
  Json logprobs;
  if (plan_.chat) {
    choice["delta"] = {{"content", text}};
    if (logprob != nullptr) {
      logprobs["content"] = Json::array({chat_logprob(model_.tokenizer.get(), id, *logprob)});
      logprobs["refusal"] = nullptr;
    }
  } else {
    choice["text"] = text;
    if (logprob != nullptr) {
      streamed_[index].add(id, logprob);
      logprobs = streamed_[index].take();
    }
  }
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = nullptr;
  if (plan_.token_ids) choice["token_ids"] = Json::array({id});
  return event(std::move(choice));
}

Json ReplyFormat::last_event(size_t index, FinishReason reason) {
  Json choice;
  choice["index"] = index;
  if (plan_.chat) {
    choice["delta"] = Json::object();
  } else {
    choice["text"] = "";
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = plan_.hide_completion ? "length" : reason_name(reason);
  return event(std::move(choice));
}

Json ReplyFormat::usage_event(const EngineUsage& total) const {
  Json out = head(plan_.chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = Json::array();
  out["usage"] = usage(total);
  out["timings"] = timings(total);
  return out;
}

Json ReplyFormat::usage(const EngineUsage& total) const {
  const int64_t completion = plan_.hide_completion ? 0 : total.completion_tokens;
  Json out;
  out["prompt_tokens"] = total.prompt_tokens;
  out["completion_tokens"] = completion;
  out["total_tokens"] = total.prompt_tokens + completion;
  out["prompt_tokens_details"] = {{"cached_tokens", total.cached_tokens}};
  return out;
}

Json ReplyFormat::timings(const EngineUsage& total) {
  Json out;
  out["queue_seconds"] = total.queue_seconds;
  out["time_to_first_token_seconds"] = total.time_to_first_token;
  out["decode_seconds"] = total.decode_seconds;
  // The first token comes with the prompt.
  const bool timed = total.decode_seconds > 0 && total.completion_tokens > 1;
  out["predicted_per_second"] =
      timed ? Json(static_cast<double>(total.completion_tokens - 1) / total.decode_seconds) : Json();
  return out;
}

}  // namespace bamba::server
