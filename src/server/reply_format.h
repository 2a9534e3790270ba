// The JSON of answers: whole ones and the events of streams, for both completion routes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/reply_plan.h"
#include "server/token_logprobs.h"

namespace bamba::server {

class ReplyFormat {
 public:
  ReplyFormat(const ReplyPlan& plan, const ServedModel& model);

  /// A choice of a whole answer. `prompt_logprobs` are those of the prompt's tokens but the first.
  Json choice(size_t index, const PlannedPrompt& prompt, const GeneratedSequence& sequence,
              std::span<const TokenLogprob> prompt_logprobs);
  Json answer(std::vector<Json> choices, const EngineUsage& usage) const;

  /// The first event of a choice: the assistant's role, or the prompt with `echo`; null: there is none.
  Json first_event(size_t index, const PlannedPrompt& prompt, std::span<const TokenLogprob> prompt_logprobs);
  /// Null: the token changes nothing that is shown.
  Json token_event(size_t index, int64_t id, const std::string& text, const TokenLogprob* logprob);
  Json last_event(size_t index, FinishReason reason);
  /// The event after the last choice, of a stream with include_usage.
  Json usage_event(const EngineUsage& usage) const;

  Json usage(const EngineUsage& usage) const;
  /// An extension: how fast it went.
  static Json timings(const EngineUsage& usage);

 private:
  Json head(std::string_view object) const;
  Json event(Json choice) const;
  void add_prompt(CompletionLogprobs& logprobs, const PlannedPrompt& prompt,
                  std::span<const TokenLogprob> prompt_logprobs) const;

  const ReplyPlan& plan_;
  const ServedModel& model_;
  std::string id_;
  int64_t created_;
  std::vector<CompletionLogprobs> streamed_;  // of completions, by choice: offsets go on from event to event
};

/// 24 random hexadecimal digits.
std::string random_id();

}  // namespace bamba::server
