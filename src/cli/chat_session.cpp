#include "cli/chat_session.h"

#include <algorithm>
#include <span>

#include "base/json.h"
#include "base/stopwatch.h"
#include "base/str.h"
#include "cli/json_out.h"

namespace bamba::cli {
namespace {

// A snapshot of Bamba-9B holds 126 MB of Mamba states: keep the start of the conversation and its last turns.
constexpr size_t kSnapshots = 4;
// Tokens between two looks at the cancel flag while a long message is read.
constexpr int64_t kPiece = 256;

}  // namespace

ChatSession::ChatSession(const BambaForCausalLM& model, const Tokenizer& tokenizer)
    : model_(model), tokenizer_(tokenizer) {
  session_.state = model_.new_state();
}

void ChatSession::set_system(std::string text) {
  const bool present = !messages_.empty() && messages_.front().role == "system";
  if (present) messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), ChatMessage{"system", std::move(text)});
}

void ChatSession::add_user(std::string text) {
  messages_.push_back({"user", std::move(text)});
}

bool ChatSession::drop_reply() {
  if (messages_.empty() || messages_.back().role != "assistant") return false;
  messages_.pop_back();
  return true;
}

void ChatSession::reset() {
  const bool system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(system ? 1 : 0);
  session_.state.reset();
  session_.ids.clear();
  snapshots_.clear();
}

std::vector<int64_t> ChatSession::rendered() const {
  if (tokenizer_.has_chat_template()) return tokenizer_.encode(tokenizer_.apply_chat_template(messages_), false);
  // Without a template the conversation is one running text that the model writes on.
  std::string text;
  for (const ChatMessage& message : messages_) {
    if (message.role != "assistant" && !text.empty() && !text.ends_with('\n')) text += '\n';
    text += message.content;
  }
  return tokenizer_.encode(text);
}

void ChatSession::rewind_to(const std::vector<int64_t>& ids) {
  const auto differ = std::mismatch(ids.begin(), ids.end(), session_.ids.begin(), session_.ids.end());
  const int64_t common = differ.first - ids.begin();
  const int64_t usable = std::min(common, static_cast<int64_t>(ids.size()) - 1);
  std::erase_if(snapshots_, [&](const Snapshot& snapshot) { return snapshot.length > common; });
  if (session_.state.length() <= usable) return;
  const auto found = std::find_if(snapshots_.rbegin(), snapshots_.rend(),
                                  [&](const Snapshot& snapshot) { return snapshot.length <= usable; });
  if (found != snapshots_.rend()) {
    session_.state = found->state.fork();
  } else {
    session_.state.reset();
  }
}

bool ChatSession::read(const std::vector<int64_t>& ids, const std::atomic<bool>& cancel) {
  const auto end = static_cast<int64_t>(ids.size()) - 1;
  for (int64_t at = session_.state.length(); at < end; at = session_.state.length()) {
    if (cancel) return false;
    SequenceInput input;
    input.state = &session_.state;
    input.input_ids = std::span(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(std::min(kPiece, end - at)));
    input.logits = LogitsToKeep::none;
    static_cast<void>(model_.forward({&input, 1}));
  }
  return true;
}

ChatSession::Reply ChatSession::reply(const GenerationConfig& config,
                                      const std::function<bool(std::string_view)>& write,
                                      const std::atomic<bool>& cancel) {
  if (messages_.empty() || messages_.back().role != "user") {
    fail(ErrorCode::invalid_argument, "there is no message to answer");
  }
  const Stopwatch watch;
  const std::vector<int64_t> ids = rendered();
  if (ids.empty()) fail(ErrorCode::invalid_argument, "the conversation holds no token");
  rewind_to(ids);
  session_.ids = ids;
  Reply reply;
  reply.reused_tokens = session_.state.length();
  reply.read_tokens = static_cast<int64_t>(ids.size()) - reply.reused_tokens;
  if (!read(ids, cancel)) {
    messages_.pop_back();
    reply.finish_reason = FinishReason::cancelled;
    return reply;
  }
  if (snapshots_.empty() || snapshots_.back().length < session_.state.length()) {
    snapshots_.push_back({session_.state.length(), session_.state.fork()});
    if (snapshots_.size() > kSnapshots) snapshots_.erase(snapshots_.begin() + 1);
  }

  GenerateOptions options;
  options.tokenizer = &tokenizer_;
  options.cancel = &cancel;
  options.states = {&session_.state, 1};
  options.stream = [&](const StreamEvent& event) {
    if (reply.new_tokens++ == 0) reply.time_to_first_token = watch.seconds();
    return write(event.text);
  };
  GenerateResult result = generate(model_, {&ids, 1}, config, options);
  GeneratedSequence& sequence = result.sequences.front();
  session_.ids.insert(session_.ids.end(), sequence.ids.begin(), sequence.ids.end());
  reply.text = std::move(sequence.text);
  reply.finish_reason = sequence.finish_reason;
  reply.new_tokens = static_cast<int64_t>(sequence.ids.size());
  reply.decode_seconds = result.timing.decode_seconds;
  if (reply.text.empty() && reply.finish_reason == FinishReason::cancelled) {
    messages_.pop_back();
  } else {
    messages_.push_back({"assistant", reply.text});
  }
  return reply;
}

size_t ChatSession::state_bytes() const {
  size_t bytes = session_.state.bytes();
  for (const Snapshot& snapshot : snapshots_) bytes += snapshot.state.bytes();
  return bytes;
}

void ChatSession::save(const std::filesystem::path& path) const {
  Json messages = Json::array();
  for (const ChatMessage& message : messages_) {
    messages.push_back({{"role", message.role}, {"content", message.content}});
  }
  Session copy;
  copy.state = session_.state.fork();
  copy.ids = session_.ids;
  copy.messages = json_line(messages);
  save_session(path, copy);
}

void ChatSession::load(const std::filesystem::path& path) {
  Session loaded = load_session(path, model_.model());
  if (loaded.messages.empty()) fail(ErrorCode::invalid_file, path.string(), ": holds no conversation");
  const Json list = parse_json(loaded.messages, path.string(), ErrorCode::invalid_file);
  std::vector<ChatMessage> messages;
  for (const Json& item : list) {
    if (!item.is_object() || !item.contains("role") || !item.contains("content") || !item["role"].is_string() ||
        !item["content"].is_string()) {
      fail(ErrorCode::invalid_file, path.string(), ": its messages are damaged");
    }
    messages.push_back({item["role"].get<std::string>(), item["content"].get<std::string>()});
  }
  messages_ = std::move(messages);
  session_ = std::move(loaded);
  snapshots_.clear();
}

}  // namespace bamba::cli
