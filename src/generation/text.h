// Generated ids to text, with stop strings found across token boundaries.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bamba {

class Tokenizer;

/// Finds the first stop string in text that comes in pieces, and holds back what may yet become part of one. "First"
/// is as if characters came one by one, so the pieces' boundaries never matter: the match that ends first, and of
/// those that end together the one that began first.
class StopMatcher {
 public:
  explicit StopMatcher(std::span<const std::string> stop_strings = {}) : stops_(stop_strings) {}

  /// Appends to `out` the text that is decided. Returns true when a stop string is complete: `out` then ends before it
  /// and the rest is dropped.
  bool feed(std::string_view piece, std::string& out);
  /// Appends what was held back: no more text comes.
  void finish(std::string& out);

 private:
  std::span<const std::string> stops_;
  std::string held_;
};

/// Ids to text one by one: StreamDecoder behind an interface, so that the loops can be tested without a tokenizer.
class TextDecoder {
 public:
  TextDecoder() = default;
  virtual ~TextDecoder() = default;
  TextDecoder(const TextDecoder&) = delete;
  TextDecoder& operator=(const TextDecoder&) = delete;

  virtual std::string push(int64_t id) = 0;
  virtual std::string finish() = 0;
};

/// What generation asks of a tokenizer.
struct TextTools {
  std::function<std::unique_ptr<TextDecoder>()> new_decoder;  ///< empty: there is no tokenizer
  /// The id of a special token spelled like this, if there is one. Decoded text leaves special tokens out, so a stop
  /// string that is one is matched by its id.
  std::function<std::optional<int64_t>(std::string_view)> special_token;

  static TextTools from(const Tokenizer* tokenizer);
};

/// The stop strings of a config, split into ids of special tokens and text.
struct StopRules {
  std::vector<int64_t> eos;
  std::vector<int64_t> special;
  std::vector<std::string> strings;

  bool is_eos(int64_t id) const;
  bool is_special(int64_t id) const;
};

/// The text of one sequence. Without a tokenizer everything stays empty.
class TextStream {
 public:
  /// Both must outlive the stream.
  TextStream(const TextTools& tools, const StopRules& rules);

  /// Takes a token; last_piece() is then the text that it decided. Returns true when a stop string is complete: the
  /// stream is then at its end.
  bool push(int64_t id);
  /// Nothing follows, for another reason than a stop string: what was held back joins last_piece().
  void finish();
  const std::string& last_piece() const { return piece_; }
  /// All pieces joined.
  const std::string& text() const { return text_; }
  std::string take_text() { return std::move(text_); }

 private:
  const StopRules* rules_;
  std::unique_ptr<TextDecoder> decoder_;
  StopMatcher matcher_;
  std::string piece_;
  std::string text_;
};

}  // namespace bamba
