// Constraint: text that must match a regex, a grammar or a JSON schema, as masks over the tokens that may come next.
#pragma once

#include <bamba/tokenizer.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bamba {

/// What each token id stands for, as a tree of bytes. Made once for a model (some 100 ms for 128,000 tokens).
/// Immutable; copies share their innards, and every member may be called from several threads at once.
class TokenVocabulary {
 public:
  /// Special tokens stand for no text. `eos_token_ids` are the tokens that end a text (GenerationConfig's); ids that
  /// the tokenizer has no token for are welcome there. Throws Error(invalid_argument) for negative ids.
  TokenVocabulary(const Tokenizer& tokenizer, std::span<const int64_t> eos_token_ids);
  /// From the bytes of each id; an empty string is a token that stands for no text.
  TokenVocabulary(std::span<const std::string> token_bytes, std::span<const int64_t> eos_token_ids);

  int64_t size() const;  ///< largest id + 1, of tokens and eos
  std::span<const int64_t> eos_token_ids() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// A set of token ids.
class TokenMask {
 public:
  explicit TokenMask(int64_t size) : size_(size), words_(static_cast<size_t>((size + 63) / 64), 0) {}

  int64_t size() const { return size_; }
  bool allows(int64_t id) const {
    return id >= 0 && id < size_ && (words_[static_cast<size_t>(id) / 64] >> (static_cast<size_t>(id) % 64) & 1) != 0;
  }
  void allow(int64_t id) { words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64); }
  int64_t count() const;
  /// Bit id % 64 of word id / 64; bits from size() on are 0.
  std::span<const uint64_t> words() const { return words_; }
  /// Sets the scores of all other ids to -infinity, those from size() on included.
  void apply(std::span<float> scores) const;

 private:
  int64_t size_;
  std::vector<uint64_t> words_;
};

/// What a text must match, as a whole. Immutable for its users; copies share their innards (and the masks found so
/// far), and every member may be called from several threads at once.
///
/// All makers throw Error(invalid_argument) for text that cannot be read as what it should be, for what is not
/// supported (named), for constraints past the limits, and for constraints that nothing matches. docs/constraints.md
/// says what is supported.
class Constraint {
 public:
  /// A regular expression over Unicode characters that the whole text matches.
  static Constraint regex(std::string_view pattern, const TokenVocabulary& vocabulary);
  /// Rules of the form `name ::= alternatives`; the text is what the rule "root" matches.
  static Constraint grammar(std::string_view text, const TokenVocabulary& vocabulary);
  /// A JSON object, whatever is in it.
  static Constraint json_object(const TokenVocabulary& vocabulary);
  /// JSON that is valid by this schema. Not all of it can be written: properties come in the schema's order, for one.
  /// Keywords that JSON Schema does not know and unknown formats are ignored with a warning.
  static Constraint json_schema(std::string_view schema, const TokenVocabulary& vocabulary);

  const TokenVocabulary& vocabulary() const;
  /// Whether the whole text matches. Throws Error(invalid_argument) when finding out passes the limits.
  bool matches(std::string_view text) const;

  struct Impl;
  explicit Constraint(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const std::shared_ptr<const Impl>& impl() const { return impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Where one sequence stands in a constraint. A small value: copy it to try something. One object is not for several
/// threads at once; objects of the same constraint are.
class ConstraintState {
 public:
  /// Before the first token.
  explicit ConstraintState(const Constraint& constraint);

  /// The tokens after which the text can still become a match; the eos tokens where it is one already. Never empty
  /// while finished() is false, but for a vocabulary without eos. Throws Error(invalid_argument) when finding out
  /// passes the limits: a constraint that is too complex may show so late.
  std::shared_ptr<const TokenMask> mask();
  /// Goes on by one token. Returns false, and nothing has changed, if mask() does not allow it.
  bool accept(int64_t token);
  bool can_end() const;                        ///< the text is a match: eos is allowed
  bool must_end() const;                       ///< it is one, and no text may follow
  bool finished() const { return finished_; }  ///< an eos was accepted: nothing more is

 private:
  struct Position;
  Constraint constraint_;
  std::shared_ptr<const Position> position_;
  bool finished_ = false;
};

/// A LogitsProcessor (bamba/generation.h) that holds the new tokens of sequences to a constraint; the first
/// prompt_length tokens are not looked at. It remembers where the sequences stand by their new tokens, so beams and
/// several sequences of a prompt may share one, and so may prompts of the same length. Copies share their memory, under
/// a lock. GenerateOptions::constraint does the same for prompts of any length. Sequences that break the constraint
/// already (beams that are out) are left alone. Throws Error(invalid_argument) when the vocabulary has no eos.

std::function<void(std::span<const int64_t> ids, std::span<float> scores)> make_constraint_processor(
    const Constraint& constraint, size_t prompt_length);

}  // namespace bamba
