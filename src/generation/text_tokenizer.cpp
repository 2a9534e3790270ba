// TextTools over a Tokenizer.
#include <bamba/tokenizer.h>

#include "generation/text.h"

namespace bamba {
namespace {

class TokenizerTextDecoder final : public TextDecoder {
 public:
  explicit TokenizerTextDecoder(const Tokenizer& tokenizer) : decoder_(tokenizer, /*skip_special_tokens=*/true) {}
  std::string push(int64_t id) override { return decoder_.push(id); }
  std::string finish() override { return decoder_.finish(); }

 private:
  StreamDecoder decoder_;
};

}  // namespace

TextTools TextTools::from(const Tokenizer* tokenizer) {
  TextTools tools;
  if (tokenizer == nullptr) return tools;
  tools.new_decoder = [tokenizer] { return std::make_unique<TokenizerTextDecoder>(*tokenizer); };
  tools.special_token = [tokenizer](std::string_view text) -> std::optional<int64_t> {
    const auto id = tokenizer->token_to_id(text);
    return id && tokenizer->is_special(*id) ? id : std::nullopt;
  };
  return tools;
}

}  // namespace bamba
