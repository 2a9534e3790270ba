// The innards that copies of a Tokenizer share.
#pragma once

#include <bamba/tokenizer.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/jinja/template.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"

namespace bamba {

/// What one call to encode needs; kept between calls because the word cache is worth keeping.
struct EncodeScratch {
  RegexScratch regex;
  BpeScratch bpe;
  std::vector<TextSection> sections;
  std::vector<TextSection> first_pass;
};

/// Lends scratch objects to whoever encodes; as many exist as calls ever ran at once, up to a bound.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Lease() { pool_.give(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    EncodeScratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<EncodeScratch> scratch_;
  };

 private:
  std::unique_ptr<EncodeScratch> take();
  void give(std::unique_ptr<EncodeScratch> scratch) noexcept;

  std::mutex mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

/// What an id stands for.
struct TokenInfo {
  std::string text;   ///< as the file spells it
  std::string bytes;  ///< what decoding yields
  bool exists = false;
  bool special = false;
};

struct SpecialIds {
  std::optional<int64_t> bos, eos, pad, unk;
};

/// Contents of the files beside tokenizer.json; empty strings for files that are not there.
struct TokenizerSideFiles {
  std::string tokenizer_config;
  std::string special_tokens_map;
  std::string chat_template;
};

struct Tokenizer::Impl {
  std::unique_ptr<const Bpe> bpe;
  std::unique_ptr<const PreTokenizer> pre_tokenizer;
  PostProcessor post_processor;
  AddedTokenMatcher raw_added;         // first pass
  AddedTokenMatcher normalized_added;  // second pass
  std::vector<TokenInfo> tokens;       // by id
  StringTable ids{0};                  // token text -> id, over tokens' strings
  SpecialIds special_ids;
  bool clean_up = false;
  std::optional<int64_t> model_max_length;
  std::optional<jinja::Template> chat_template;
  std::vector<std::pair<std::string, std::string>> template_variables;  // bos_token and the like
  mutable ScratchPool scratch;

  /// The text's tokens without special ones around them; offsets only on request.
  Encoding encode_plain(std::string_view text, bool with_offsets) const;
  const std::string& token_text(int64_t id) const { return tokens[static_cast<size_t>(id)].text; }
  Encoding post_process(std::vector<Encoding> parts, bool add_special_tokens) const;
  /// nullptr: skipped (special, or no token). Throws Error(invalid_argument) for negative ids.
  const TokenInfo* decodable(int64_t id, bool skip_special_tokens) const;
};

/// Builds a tokenizer from the texts of its files; `origin` names them in messages.
std::shared_ptr<const Tokenizer::Impl> parse_tokenizer(std::string_view json_text, const std::string& origin,
                                                       const TokenizerSideFiles& side_files = {});

}  // namespace bamba
