// Tokenizer: text to ids and back, from the files that Hugging Face tokenizers ship (byte-level BPE).
#pragma once

#include <bamba/chat_template.h>
#include <bamba/tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bamba {

/// One text (or pair) turned into ids; the vectors have the same length.
struct Encoding {
  std::vector<int64_t> ids;
  /// [begin, end) of each token in the text, counted in Unicode characters (code points), as Python counts. A token
  /// that holds only part of a character spans the whole character; tokens that a template adds have (0, 0).
  std::vector<std::pair<int64_t, int64_t>> offsets;
  std::vector<int64_t> type_ids;  ///< 0 for the first text and 1 for the second, or what the file's template says
};

enum class PaddingSide { left, right };

struct BatchEncodeOptions {
  bool add_special_tokens = true;
  PaddingSide padding_side = PaddingSide::left;  ///< left is what generation wants
  std::optional<int64_t> max_length;             ///< longest row accepted, added special tokens included
  bool truncation = false;                       ///< cut longer rows on the right (else they are an error)
  bool pad_to_max_length = false;                ///< pad every row to max_length instead of to the longest row
  std::optional<int64_t> pad_token_id;           ///< default: the tokenizer's pad token, else its eos, else 0
  int threads = 1;                               ///< 0: one for each processor
};

struct BatchEncoding {
  Tensor input_ids;       ///< i64 [batch, seq]
  Tensor attention_mask;  ///< i64 [batch, seq]; 1 where there is a token, 0 where there is padding
};

/// Immutable; copies share their innards, and every member may be called from several threads at once.
///
/// Text is UTF-8. Bytes that are not UTF-8 never reach the model: each maximal ill-formed sequence counts as one
/// U+FFFD, as Python's bytes.decode("utf-8", "replace") has it.
class Tokenizer {
 public:
  /// Reads DIR/tokenizer.json and, where present, tokenizer_config.json, special_tokens_map.json and
  /// chat_template.jinja. Throws Error(invalid_tokenizer) for files that are broken, Error(unsupported) for a model,
  /// normalizer, pre-tokenizer, post-processor or decoder that is not byte-level BPE's (named), Error(io).
  static Tokenizer from_pretrained(const std::filesystem::path& directory);
  /// Is there a tokenizer.json in this folder?
  static bool exists(const std::filesystem::path& directory);

  /// Throws Error(invalid_argument) when the file's split regex gives up on this text (its step limit).
  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens = true) const;
  Encoding encode_with_offsets(std::string_view text, bool add_special_tokens = true) const;
  Encoding encode_pair(std::string_view first, std::string_view second, bool add_special_tokens = true) const;
  BatchEncoding encode_batch(std::span<const std::string> texts, const BatchEncodeOptions& options = {}) const;

  /// Always valid UTF-8 (U+FFFD for bytes that are none). Ids without a token, such as the spare rows of an
  /// embedding, yield nothing; negative ids throw Error(invalid_argument). `clean_up_tokenization_spaces` ("a ." to
  /// "a." and the like) is off by default: Transformers 5 ignores tokenizer_config.json's true for byte-level BPE too,
  /// unless clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output is true as well.
  std::string decode(std::span<const int64_t> ids, bool skip_special_tokens = false,
                     std::optional<bool> clean_up_tokenization_spaces = {}) const;

  int64_t vocab_size() const;  ///< largest id + 1
  std::optional<int64_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int64_t id) const;  ///< as the file spells it ("Ġthe" for " the")
  /// The text of one id alone: raw bytes, possibly only a part of a character; empty for ids without a token.
  std::string id_to_bytes(int64_t id) const;
  bool is_special(int64_t id) const;
  std::optional<int64_t> bos_token_id() const;
  std::optional<int64_t> eos_token_id() const;
  std::optional<int64_t> pad_token_id() const;
  std::optional<int64_t> unk_token_id() const;
  bool clean_up_tokenization_spaces() const;  ///< decode's default
  /// tokenizer_config.json's model_max_length, where it gives a sensible one.
  std::optional<int64_t> model_max_length() const;

  bool has_chat_template() const;
  /// The prompt text for a conversation. Encode it with add_special_tokens = false: templates write the special
  /// tokens themselves. Throws Error(invalid_argument) when there is no template or when it refuses the messages
  /// (raise_exception), Error(invalid_tokenizer) when the template itself is broken or exceeds its limits.
  std::string apply_chat_template(std::span<const ChatMessage> messages, bool add_generation_prompt = true) const;

  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  friend class StreamDecoder;
  std::shared_ptr<const Impl> impl_;
};

/// Decodes ids as they come. No output ends inside a UTF-8 character, and the outputs of push() and finish() joined
/// are what decode() gives for all the ids. With clean-up on, text that it might still change is held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true,
                         std::optional<bool> clean_up_tokenization_spaces = {});
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  /// The text that this id completes; often empty.
  std::string push(int64_t id);
  /// What was held back (U+FFFD for half a character), and a fresh start.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bamba
