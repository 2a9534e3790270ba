// From a plan to an answer: submits the plan's prompts to the engine and writes what comes of them, whole or as a
// stream of server-sent events.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/exchange.h"
#include "server/reply_format.h"
#include "server/reply_plan.h"

namespace bamba::server {

/// What the engine says is handed to the exchange's thread and only there touched.
class Reply : public std::enable_shared_from_this<Reply> {
 public:
  /// Answers through `exchange` in any case.
  static void start(ReplyPlan plan, std::shared_ptr<const ServedModel> model, std::shared_ptr<Exchange> exchange);

  Reply(ReplyPlan plan, std::shared_ptr<const ServedModel> model, std::shared_ptr<Exchange> exchange);

 private:
  class Listener;

  void submit();
  void cancel();
  void keep_alive();

  void prompt_done(size_t prompt, const EngineUsage& usage, std::vector<TokenLogprob> logprobs);
  void token(size_t prompt, int64_t sequence, int64_t id, const std::string& text,
             const std::optional<TokenLogprob>& logprob);
  void sequence_finished(size_t prompt, int64_t sequence, const GeneratedSequence& result);
  void prompt_finished(const EngineUsage& usage);
  void failed(const ApiError& error);

  void begin_stream();
  void send_event(const Json& event);
  size_t choice_index(size_t prompt, int64_t sequence) const;
  void finish();

  ReplyPlan plan_;
  std::shared_ptr<const ServedModel> model_;
  std::shared_ptr<Exchange> exchange_;
  ReplyFormat format_;
  std::vector<Json> choices_;                         // of an answer that is sent whole
  std::vector<std::vector<TokenLogprob>> of_prompt_;  // log-probabilities of each prompt's own tokens
  EngineUsage usage_;                                 // of all prompts
  size_t open_prompts_;
  bool streaming_ = false;
  bool ended_ = false;

  std::mutex mutex_;  // guards what follows: the submitting worker and the exchange's thread
  std::vector<uint64_t> submitted_;
  bool cancelled_ = false;
};

}  // namespace bamba::server
