#include "cli/sequence_print.h"

#include <utility>

#include "base/str.h"
#include "cli/json_out.h"
#include "cli/terminal.h"

namespace bamba::cli {
namespace {

Json logprobs_json(const GeneratedSequence& sequence) {
  Json out = Json::array();
  for (size_t i = 0; i < sequence.logprobs.size(); ++i) {
    Json top = Json::array();
    for (const auto& [id, logprob] : sequence.logprobs[i].top) top.push_back({{"id", id}, {"logprob", logprob}});
    out.push_back({{"id", sequence.ids[i]}, {"logprob", sequence.logprobs[i].logprob}, {"top", std::move(top)}});
  }
  return out;
}

}  // namespace

double per_second(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

Json timing_json(const GenerateTiming& timing, int64_t first) {
  Json out;
  out["prompt_tokens"] = timing.prompt_tokens;
  out["new_tokens"] = timing.new_tokens;
  out["time_to_first_token"] = timing.time_to_first_token;
  out["prompt_seconds"] = timing.prompt_seconds;
  out["decode_seconds"] = timing.decode_seconds;
  out["prompt_tokens_per_second"] = per_second(timing.prompt_tokens, timing.prompt_seconds);
  out["decode_tokens_per_second"] = per_second(timing.new_tokens - first, timing.decode_seconds);
  return out;
}

std::string sequence_json(size_t index, const Prompt& prompt, const GeneratedSequence& sequence, bool with_logprobs,
                          const Json& timing) {
  Json line;
  line["index"] = index;
  line["prompt_ids"] = prompt.ids;
  line["ids"] = sequence.ids;
  line["text"] = sequence.text;
  line["finish_reason"] = finish_reason_name(sequence.finish_reason);
  if (sequence.score) line["score"] = *sequence.score;
  if (with_logprobs) line["logprobs"] = logprobs_json(sequence);
  line["timing"] = timing;
  return json_line(line);
}

std::string sequence_header(size_t index, size_t number, const GeneratedSequence& sequence) {
  std::string header = str("=== prompt ", index, ", sequence ", number);
  if (sequence.score) header += str(", score ", short_number(*sequence.score));
  return str(header, ", ", finish_reason_name(sequence.finish_reason), " ===");
}

std::string ids_text(const GeneratedSequence& sequence) {
  std::string line;
  for (const int64_t id : sequence.ids) line += str(line.empty() ? "" : ",", id);
  return line;
}

}  // namespace bamba::cli
