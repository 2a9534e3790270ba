#include "server/reply.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/str.h"

namespace bamba::server {
namespace {

// A stream that has nothing to say for so long sends a comment, so that no proxy takes it for dead.
constexpr double kPingSeconds = 10;

}  // namespace

/// Hands what the engine's thread says of one prompt to the exchange's thread.
class Reply::Listener final : public EngineListener {
 public:
  Listener(std::shared_ptr<Reply> reply, size_t prompt) : reply_(std::move(reply)), prompt_(prompt) {}

  void prompt_done(const EngineUsage& usage, const std::vector<TokenLogprob>& logprobs) override {
    reply_->exchange_->post(
        [reply = reply_, prompt = prompt_, usage, logprobs] { reply->prompt_done(prompt, usage, logprobs); });
  }
  void token(const StreamEvent& event) override {
    if (!reply_->plan_.stream) return;
    std::optional<TokenLogprob> logprob;
    if (event.logprob != nullptr) logprob = *event.logprob;
    reply_->exchange_->post([reply = reply_, prompt = prompt_, sequence = event.sequence_index, id = event.id,
                             text = std::string(event.text), logprob = std::move(logprob)]() mutable {
      reply->token(prompt, sequence, id, text, logprob);
    });
  }
  void sequence_finished(int64_t sequence, const GeneratedSequence& result) override {
    reply_->exchange_->post(
        [reply = reply_, prompt = prompt_, sequence, result] { reply->sequence_finished(prompt, sequence, result); });
  }
  void finished(const EngineUsage& usage) override {
    reply_->exchange_->post([reply = reply_, usage] { reply->prompt_finished(usage); });
  }
  void failed(const Error& error) override {
    reply_->exchange_->post([reply = reply_, error = api_error(error)] { reply->failed(error); });
  }

 private:
  std::shared_ptr<Reply> reply_;
  size_t prompt_;
};

Reply::Reply(ReplyPlan plan, std::shared_ptr<const ServedModel> model, std::shared_ptr<Exchange> exchange)
    : plan_(std::move(plan)),
      model_(std::move(model)),
      exchange_(std::move(exchange)),
      format_(plan_, *model_),
      choices_(plan_.stream ? 0 : plan_.prompts.size() * static_cast<size_t>(plan_.choices)),
      of_prompt_(plan_.prompts.size()),
      open_prompts_(plan_.prompts.size()) {
  exchange_->record().prompt_tokens = 0;
}

void Reply::start(ReplyPlan plan, std::shared_ptr<const ServedModel> model, std::shared_ptr<Exchange> exchange) {
  const auto reply = std::make_shared<Reply>(std::move(plan), std::move(model), std::move(exchange));
  reply->exchange_->on_disconnect([reply] {
    reply->ended_ = true;
    reply->cancel();
  });
  if (reply->plan_.stream) reply->keep_alive();
  reply->submit();
}

void Reply::submit() {
  for (size_t i = 0; i < plan_.prompts.size(); ++i) {
    EngineRequest& request = plan_.prompts[i].request;
    request.id = exchange_->id();
    std::optional<ApiError> refused;
    try {
      const uint64_t number =
          model_->engine->submit(std::move(request), std::make_shared<Listener>(shared_from_this(), i));
      const std::lock_guard lock(mutex_);
      submitted_.push_back(number);
      if (!cancelled_) continue;
      model_->engine->cancel(number);
      return;
    } catch (const Error& error) {
      refused = api_error(error);
    } catch (const std::exception& error) {
      refused = ApiError(500, error.what(), {}, "internal");
    }
    exchange_->post([self = shared_from_this(), error = *refused] { self->failed(error); });
    return;
  }
}

void Reply::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (const uint64_t number : submitted_) model_->engine->cancel(number);
}

void Reply::keep_alive() {
  exchange_->after(kPingSeconds, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr || self->ended_) return;
    self->begin_stream();
    self->exchange_->write(": still here\n\n");
    self->keep_alive();
  });
}

size_t Reply::choice_index(size_t prompt, int64_t sequence) const {
  return prompt * static_cast<size_t>(plan_.choices) + static_cast<size_t>(sequence);
}

void Reply::begin_stream() {
  if (streaming_) return;
  streaming_ = true;
  HttpResponse head;
  head.content_type = "text/event-stream";
  head.set("Cache-Control", "no-cache");
  head.set("X-Accel-Buffering", "no");  // nginx would hold events back
  exchange_->begin_stream(std::move(head));
}

void Reply::send_event(const Json& event) {
  if (event.is_null()) return;
  begin_stream();
  exchange_->write("data: " + json_text(event) + "\n\n");
}

void Reply::prompt_done(size_t prompt, const EngineUsage& usage, std::vector<TokenLogprob> logprobs) {
  if (ended_) return;
  // For the log of a request that ends before its usage is known.
  exchange_->record().prompt_tokens += usage.prompt_tokens;
  exchange_->record().cached_tokens += usage.cached_tokens;
  of_prompt_[prompt] = std::move(logprobs);
  if (!plan_.stream) return;
  for (int64_t i = 0; i < plan_.choices; ++i) {
    send_event(format_.first_event(choice_index(prompt, i), plan_.prompts[prompt], of_prompt_[prompt]));
  }
}

void Reply::token(size_t prompt, int64_t sequence, int64_t id, const std::string& text,
                  const std::optional<TokenLogprob>& logprob) {
  if (ended_) return;
  ++exchange_->record().completion_tokens;
  send_event(format_.token_event(choice_index(prompt, sequence), id, text, logprob ? &*logprob : nullptr));
}

void Reply::sequence_finished(size_t prompt, int64_t sequence, const GeneratedSequence& result) {
  if (ended_) return;
  const size_t index = choice_index(prompt, sequence);
  if (plan_.stream) {
    send_event(format_.last_event(index, result.finish_reason));
  } else {
    choices_[index] = format_.choice(index, plan_.prompts[prompt], result, of_prompt_[prompt]);
  }
}

void Reply::prompt_finished(const EngineUsage& usage) {
  if (ended_) return;
  usage_.prompt_tokens += usage.prompt_tokens;
  usage_.cached_tokens += usage.cached_tokens;
  usage_.completion_tokens += usage.completion_tokens;
  usage_.queue_seconds = std::max(usage_.queue_seconds, usage.queue_seconds);
  usage_.time_to_first_token = std::max(usage_.time_to_first_token, usage.time_to_first_token);
  usage_.decode_seconds = std::max(usage_.decode_seconds, usage.decode_seconds);
  if (--open_prompts_ == 0) finish();
}

void Reply::finish() {
  ended_ = true;
  RequestRecord& record = exchange_->record();
  record.prompt_tokens = usage_.prompt_tokens;
  record.cached_tokens = usage_.cached_tokens;
  record.completion_tokens = usage_.completion_tokens;
  record.time_to_first_token = usage_.time_to_first_token;
  if (!plan_.stream) return exchange_->send(format_.answer(std::move(choices_), usage_));
  if (plan_.include_usage) send_event(format_.usage_event(usage_));
  begin_stream();
  exchange_->write("data: [DONE]\n\n");
  exchange_->end("ok");
}

void Reply::failed(const ApiError& error) {
  if (ended_) return;
  ended_ = true;
  cancel();  // the other prompts of the request
  if (!streaming_) return exchange_->send(error);
  Json event;
  event["error"] = error.json();
  exchange_->write("data: " + json_text(event) + "\n\n");
  exchange_->end(error.code().empty() ? "error" : error.code());
}

}  // namespace bamba::server
