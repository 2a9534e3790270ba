#include "server/served_model.h"

#include <algorithm>

#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {

bool ServedModel::knows(const std::string& name) const {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const Tokenizer& ServedModel::require_tokenizer(const std::string& need) const {
  if (tokenizer == nullptr) {
    throw ApiError(400, str(need, " needs a tokenizer, and this model has none: send token ids"), {}, "no_tokenizer");
  }
  return *tokenizer;
}

void ServedModel::measure_tokens() {
  if (tokenizer == nullptr) return;
  for (int64_t id = 0; id < tokenizer->vocab_size(); ++id) {
    // Added tokens stand in a text as they are spelled.
    longest_token =
        std::max({longest_token, tokenizer->id_to_bytes(id).size(), tokenizer->id_to_token(id).value_or("").size()});
  }
}

void ServedModel::check_text_size(size_t bytes) const {
  const auto tokens = static_cast<size_t>(max_context());
  if (longest_token == 0 || bytes / longest_token <= tokens) return;
  throw ApiError(400,
                 str("the context holds ", tokens, " tokens; the prompt has more than ", bytes / longest_token,
                     " in its ", bytes, " bytes"),
                 {}, "context_length_exceeded");
}

}  // namespace bamba::server
