#include <bamba/tokenizer.h>

#include "tokenizer/clean_up.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/utf8.h"

namespace bamba {

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer::Impl> impl;
  bool skip_special_tokens;
  bool clean_up;
  std::string bytes;  // at most the start of one character between calls
  CleanUpStream cleaner;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens,
                             std::optional<bool> clean_up_tokenization_spaces)
    : state_(
          std::make_unique<State>(State{tokenizer.impl_,
                                        skip_special_tokens,
                                        clean_up_tokenization_spaces.value_or(tokenizer.clean_up_tokenization_spaces()),
                                        {},
                                        {}})) {}

StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(int64_t id) {
  State& s = *state_;
  const TokenInfo* token = s.impl->decodable(id, s.skip_special_tokens);
  if (!token) return {};
  s.bytes += token->bytes;
  // Everything up to a character that more bytes could complete is final.
  size_t final_bytes = 0;
  while (final_bytes < s.bytes.size()) {
    const Utf8Step step = utf8_step(s.bytes, final_bytes);
    if (step.truncated) break;
    final_bytes += step.length;
  }
  std::string text = utf8_replace_invalid(std::string_view(s.bytes).substr(0, final_bytes));
  s.bytes.erase(0, final_bytes);
  return s.clean_up ? s.cleaner.push(text) : text;
}

std::string StreamDecoder::finish() {
  State& s = *state_;
  std::string text = utf8_replace_invalid(s.bytes);
  s.bytes.clear();
  if (!s.clean_up) return text;
  std::string out = s.cleaner.push(text);
  return out += s.cleaner.finish();
}

}  // namespace bamba
