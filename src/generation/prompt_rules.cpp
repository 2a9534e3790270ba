#include "generation/prompt_rules.h"

#include "base/str.h"

namespace bamba {

int64_t max_length_for(const GenerationConfig& config, size_t prompt, int64_t prompt_length) {
  constexpr int64_t kDefaultNewTokens = 256;
  if (config.max_new_tokens) return prompt_length + *config.max_new_tokens;
  if (!config.max_length) return prompt_length + kDefaultNewTokens;
  if (prompt_length >= *config.max_length) {
    fail(ErrorCode::invalid_argument, "max_length is ", *config.max_length, " and prompt ", prompt, " has ",
         prompt_length, " tokens; it counts the prompt and must be larger (or set max_new_tokens)");
  }
  return *config.max_length;
}

std::vector<int64_t> checked_ids(const std::vector<int64_t>& ids, size_t prompt, const GenerationConfig& config,
                                 int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      fail(ErrorCode::invalid_argument, "token ", i, " of prompt ", prompt, " is ", ids[i],
           "; token ids must be in [0, ", vocab_size, ")");
    }
  }
  if (!ids.empty()) return ids;
  if (!config.bos_token_id) {
    fail(ErrorCode::invalid_argument, "prompt ", prompt,
         " is empty and there is no bos_token_id to start from; give it at least one token");
  }
  return {*config.bos_token_id};
}

StopRules stop_rules(const GenerationConfig& config, const TextTools& tools) {
  StopRules rules;
  rules.eos = config.eos_token_id;
  if (!config.stop_strings.empty() && !tools.new_decoder) {
    fail(ErrorCode::invalid_argument, "stop_strings are set without a tokenizer; pass one in GenerateOptions");
  }
  for (const std::string& stop : config.stop_strings) {
    const auto special = tools.special_token ? tools.special_token(stop) : std::nullopt;
    if (special) {
      rules.special.push_back(*special);
    } else {
      rules.strings.push_back(stop);
    }
  }
  return rules;
}

}  // namespace bamba
