// An engine whose requests do what a test says, when it says so.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "server/served_model.h"

namespace bamba::test {

class ScriptedEngine final : public server::ServedEngine {
 public:
  struct Submitted {
    EngineRequest request;
    std::shared_ptr<EngineListener> listener;
    uint64_t number = 0;
  };

  uint64_t submit(EngineRequest request, std::shared_ptr<EngineListener> listener) override {
    const std::lock_guard lock(mutex_);
    if (refusal_) throw Error(*refusal_);
    const uint64_t number = ++last_;
    waiting_.push_back({std::move(request), std::move(listener), number});
    changed_.notify_all();
    return number;
  }
  void cancel(uint64_t request) override {
    const std::lock_guard lock(mutex_);
    cancelled_.insert(request);
    changed_.notify_all();
  }
  bool drain(double /*seconds*/) override { return true; }
  EngineMetrics metrics() const override {
    EngineMetrics metrics;
    metrics.generated_tokens = 12345;
    return metrics;
  }
  int64_t max_context() const override { return 64; }

  /// From now on submit() throws this.
  void refuse_with(const Error& error) {
    const std::lock_guard lock(mutex_);
    refusal_ = error;
  }
  /// The next request, when it comes. Fails the test by throwing after 20 seconds.
  Submitted next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return !waiting_.empty(); })) throw std::runtime_error("no request");
    Submitted first = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    return first;
  }
  bool cancelled(uint64_t number, double seconds = 20) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return cancelled_.contains(number); });
  }

  static EngineUsage usage(const Submitted& submitted, int64_t tokens) {
    EngineUsage usage;
    usage.prompt_tokens = static_cast<int64_t>(submitted.request.prompt_ids.size());
    usage.completion_tokens = tokens;
    usage.decode_seconds = 0.5;
    return usage;
  }
  /// Writes one sequence, one piece a token, and ends.
  static void reply(const Submitted& submitted, const std::vector<std::string>& pieces) {
    submitted.listener->prompt_done(usage(submitted, 0), {});
    GeneratedSequence sequence;
    for (const std::string& piece : pieces) {
      StreamEvent event;
      event.id = 100 + static_cast<int64_t>(sequence.ids.size());
      event.text = piece;
      submitted.listener->token(event);
      sequence.ids.push_back(event.id);
      sequence.text += piece;
    }
    sequence.finish_reason = FinishReason::stop;
    submitted.listener->sequence_finished(0, sequence);
    submitted.listener->finished(usage(submitted, static_cast<int64_t>(pieces.size())));
  }

 private:
  static constexpr std::chrono::seconds kPatience{20};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Error> refusal_;
  std::vector<Submitted> waiting_;
  std::set<uint64_t> cancelled_;
  uint64_t last_ = 0;
};

}  // namespace bamba::test
