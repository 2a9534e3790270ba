// A conversation with a model: messages, the state that has read them, and snapshots to go back to.
#pragma once

#include <bamba/generation.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/session.h"

namespace bamba::cli {

class ChatSession {
 public:
  struct Reply {
    std::string text;
    FinishReason finish_reason = FinishReason::length;
    int64_t reused_tokens = 0;  ///< of the conversation, already inside the state
    int64_t read_tokens = 0;    ///< of the conversation, read for this reply
    int64_t new_tokens = 0;
    double time_to_first_token = 0;  ///< seconds, reading included
    double decode_seconds = 0;
  };

  /// Both must outlive the session.
  ChatSession(const BambaForCausalLM& model, const Tokenizer& tokenizer);

  const std::vector<ChatMessage>& messages() const { return messages_; }
  void set_system(std::string text);
  void add_user(std::string text);
  /// Takes the last reply back, so that reply() tries again. False when there is none.
  bool drop_reply();
  /// Forgets all but the system message.
  void reset();

  /// Answers the last user message. `write` gets the text as it comes and returns false to stop; `cancel` stops too.
  /// A stopped reply stays in the conversation as far as it got; one without any text takes its question with it.
  /// Only tokens that no earlier turn has read are read.
  Reply reply(const GenerationConfig& config, const std::function<bool(std::string_view)>& write,
              const std::atomic<bool>& cancel);

  int64_t context_tokens() const { return session_.state.length(); }
  size_t state_bytes() const;

  void save(const std::filesystem::path& path) const;
  void load(const std::filesystem::path& path);

 private:
  struct Snapshot {
    int64_t length;
    SequenceState state;
  };

  std::vector<int64_t> rendered() const;
  /// Leaves a state that has read a proper prefix of `ids`, the longest there is.
  void rewind_to(const std::vector<int64_t>& ids);
  /// Reads ids up to the last one; false when cancelled.
  bool read(const std::vector<int64_t>& ids, const std::atomic<bool>& cancel);

  const BambaForCausalLM& model_;
  const Tokenizer& tokenizer_;
  std::vector<ChatMessage> messages_;
  Session session_;
  std::vector<Snapshot> snapshots_;  // each at a prefix of session_.ids, shortest first
};

}  // namespace bamba::cli
