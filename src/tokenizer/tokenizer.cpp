#include <bamba/tokenizer.h>

#include <algorithm>

#include "base/file.h"
#include "base/str.h"
#include "base/thread_pool.h"
#include "tokenizer/clean_up.h"
#include "tokenizer/jinja/template.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/utf8.h"

namespace bamba {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;

std::string read_if_present(const std::filesystem::path& path, uint64_t max_bytes) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? read_file(path, max_bytes) : std::string();
}

}  // namespace

bool Tokenizer::exists(const std::filesystem::path& directory) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(directory / "tokenizer.json", ignored);
}

Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "tokenizer.json";
  const std::string text = read_file(path, kMaxFileBytes);
  return Tokenizer(parse_tokenizer(text, path.string(),
                                   {read_if_present(directory / "tokenizer_config.json", kMaxFileBytes),
                                    read_if_present(directory / "special_tokens_map.json", kMaxFileBytes),
                                    read_if_present(directory / "chat_template.jinja", kMaxTemplateBytes)}));
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<Encoding> parts(1);
  parts[0] = impl_->encode_plain(text, false);
  return impl_->post_process(std::move(parts), add_special_tokens).ids;
}

Encoding Tokenizer::encode_with_offsets(std::string_view text, bool add_special_tokens) const {
  std::vector<Encoding> parts(1);
  parts[0] = impl_->encode_plain(text, true);
  return impl_->post_process(std::move(parts), add_special_tokens);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, bool add_special_tokens) const {
  std::vector<Encoding> parts(2);
  parts[0] = impl_->encode_plain(first, true);
  parts[1] = impl_->encode_plain(second, true);
  return impl_->post_process(std::move(parts), add_special_tokens);
}

BatchEncoding Tokenizer::encode_batch(std::span<const std::string> texts, const BatchEncodeOptions& options) const {
  const int64_t added = options.add_special_tokens ? impl_->post_processor.added_to_single() : 0;
  const bool needs_length = options.truncation || options.pad_to_max_length;
  if (needs_length && !options.max_length) {
    fail(ErrorCode::invalid_argument, "truncation and pad_to_max_length need a max_length");
  }
  if (options.max_length && *options.max_length < added) {
    fail(ErrorCode::invalid_argument, "max_length is ", *options.max_length, "; the special tokens alone take ", added);
  }
  std::vector<std::vector<int64_t>> rows(texts.size());
  const auto encode_row = [&](int64_t row, int /*worker*/) {
    std::vector<Encoding> parts(1);
    parts[0] = impl_->encode_plain(texts[static_cast<size_t>(row)], false);
    auto& ids = parts[0].ids;
    if (options.max_length && static_cast<int64_t>(ids.size()) + added > *options.max_length) {
      if (!options.truncation) {
        fail(ErrorCode::invalid_argument, "text ", row, " of the batch has ", ids.size() + static_cast<size_t>(added),
             " tokens; max_length is ", *options.max_length, " and truncation is off");
      }
      ids.resize(static_cast<size_t>(*options.max_length - added));
    }
    rows[static_cast<size_t>(row)] = impl_->post_process(std::move(parts), options.add_special_tokens).ids;
  };
  if (options.threads == 1 || texts.size() < 2) {
    for (size_t row = 0; row < texts.size(); ++row) encode_row(static_cast<int64_t>(row), 0);
  } else {
    ThreadPool pool(options.threads);
    pool.parallel_for(static_cast<int64_t>(texts.size()), encode_row);
  }
  size_t longest = options.pad_to_max_length ? static_cast<size_t>(*options.max_length) : 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  const int64_t pad =
      options.pad_token_id.value_or(impl_->special_ids.pad.value_or(impl_->special_ids.eos.value_or(0)));

  const Shape shape{static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)};
  BatchEncoding batch{Tensor::empty(DType::i64, shape), Tensor::zeros(DType::i64, shape)};
  const auto ids = batch.input_ids.data<int64_t>();
  const auto mask = batch.attention_mask.data<int64_t>();
  std::fill(ids.begin(), ids.end(), pad);
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t skip = options.padding_side == PaddingSide::left ? longest - rows[i].size() : 0;
    const size_t begin = i * longest + skip;
    std::copy(rows[i].begin(), rows[i].end(), ids.begin() + static_cast<std::ptrdiff_t>(begin));
    std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(begin), rows[i].size(), 1);
  }
  return batch;
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool skip_special_tokens,
                              std::optional<bool> clean_up_tokenization_spaces) const {
  std::string bytes;
  for (const int64_t id : ids) {
    if (const TokenInfo* token = impl_->decodable(id, skip_special_tokens)) bytes += token->bytes;
  }
  if (!utf8_valid(bytes)) bytes = utf8_replace_invalid(bytes);
  return clean_up_tokenization_spaces.value_or(impl_->clean_up) ? clean_up_tokenization(std::move(bytes)) : bytes;
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(impl_->tokens.size());
}

std::optional<int64_t> Tokenizer::token_to_id(std::string_view token) const {
  const uint32_t id = impl_->ids.find(token);
  return id == StringTable::kNone ? std::nullopt : std::optional<int64_t>(id);
}

std::optional<std::string> Tokenizer::id_to_token(int64_t id) const {
  if (id < 0 || id >= vocab_size() || !impl_->tokens[static_cast<size_t>(id)].exists) return std::nullopt;
  return impl_->token_text(id);
}

std::string Tokenizer::id_to_bytes(int64_t id) const {
  return id < 0 || id >= vocab_size() ? std::string() : impl_->tokens[static_cast<size_t>(id)].bytes;
}

bool Tokenizer::is_special(int64_t id) const {
  return id >= 0 && id < vocab_size() && impl_->tokens[static_cast<size_t>(id)].special;
}

std::optional<int64_t> Tokenizer::bos_token_id() const {
  return impl_->special_ids.bos;
}
std::optional<int64_t> Tokenizer::eos_token_id() const {
  return impl_->special_ids.eos;
}
std::optional<int64_t> Tokenizer::pad_token_id() const {
  return impl_->special_ids.pad;
}
std::optional<int64_t> Tokenizer::unk_token_id() const {
  return impl_->special_ids.unk;
}
bool Tokenizer::clean_up_tokenization_spaces() const {
  return impl_->clean_up;
}
std::optional<int64_t> Tokenizer::model_max_length() const {
  return impl_->model_max_length;
}
bool Tokenizer::has_chat_template() const {
  return impl_->chat_template.has_value();
}

std::string Tokenizer::apply_chat_template(std::span<const ChatMessage> messages, bool add_generation_prompt) const {
  if (!impl_->chat_template) {
    fail(ErrorCode::invalid_argument,
         "this tokenizer has no chat template (chat_template.jinja or the key "
         "chat_template of tokenizer_config.json)");
  }
  return impl_->chat_template->render_chat(messages, add_generation_prompt, impl_->template_variables);
}

}  // namespace bamba
