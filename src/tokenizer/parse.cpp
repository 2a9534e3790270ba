// From the texts of a tokenizer's files to the objects that do the work.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/str.h"
#include "base/warning.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/tokenizer_json.h"

namespace bamba {
namespace {

constexpr size_t kMaxAddedTokenBytes = 1024;  // bounds the matcher's work for each byte of text
constexpr std::array kNamedTokens = {"bos_token", "eos_token", "pad_token", "unk_token",
                                     "sep_token", "cls_token", "mask_token"};

std::string side_origin(const std::string& origin, const char* name) {
  return (std::filesystem::path(origin).parent_path() / name).string();
}

/// The sections that change text in ways this encoder does not do.
void refuse_normalizer(const Json& json, const std::string& origin) {
  if (json.is_null()) return;
  const std::string where = origin + ": normalizer";
  const std::string type = json_string(json, "type", where);
  if (type == "Sequence" && json_array(json, "normalizers", where).empty()) return;
  fail(ErrorCode::unsupported, where, " is of type ", type, "; only tokenizers without one are supported");
}

void check_decoder(const Json& json, const std::string& where, bool& byte_level, int depth) {
  const std::string type = json_string(json, "type", where);
  if (type == "ByteLevel") {
    byte_level = true;
  } else if (type == "Sequence" && depth < 8) {
    for (const Json& part : json_array(json, "decoders", where)) check_decoder(part, where, byte_level, depth + 1);
  } else if (type != "Fuse") {
    fail(ErrorCode::unsupported, where, " is of type ", type, "; ByteLevel (also in a Sequence) is supported");
  }
}

Json field_or_null(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() ? Json() : *found;
}

Bpe::Options model_options(const Json& model, const std::string& origin) {
  const std::string where = origin + ": model";
  if (!model.is_object()) fail(ErrorCode::invalid_tokenizer, origin, " lacks \"model\"");
  const Json type = field_or_null(model, "type");  // older files leave it out
  if (!type.is_null() && type != "BPE") {
    fail(ErrorCode::unsupported, where, " is of type ", type.is_string() ? type.get<std::string>() : "?",
         "; only BPE is supported");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json value = field_or_null(model, key);
    if (!value.is_null() && value != "") fail(ErrorCode::unsupported, where, " sets ", key, ", which is not supported");
  }
  const Json dropout = field_or_null(model, "dropout");
  if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0)) {
    fail(ErrorCode::unsupported, where, " sets dropout, which is not supported");
  }
  Bpe::Options options;
  if (!field_or_null(model, "unk_token").is_null()) options.unk_token = json_string(model, "unk_token", where);
  options.fuse_unk = json_bool(model, "fuse_unk", false, where);
  options.ignore_merges = json_bool(model, "ignore_merges", false, where);
  options.byte_fallback = json_bool(model, "byte_fallback", false, where);
  return options;
}

std::vector<AddedToken> read_added_tokens(const Json& root, const std::string& origin) {
  std::vector<AddedToken> result;
  const Json& list = field_or_null(root, "added_tokens");
  if (list.is_null()) return result;
  if (!list.is_array()) fail(ErrorCode::invalid_tokenizer, origin, ": \"added_tokens\" is not an array");
  for (const Json& entry : list) {
    const std::string where = str(origin, ": added_tokens entry ", result.size());
    AddedToken token;
    token.content = json_string(entry, "content", where);
    token.id = json_id(json_field(entry, "id", where), where + ": the id");
    token.special = json_bool(entry, "special", false, where);
    token.single_word = json_bool(entry, "single_word", false, where);
    token.lstrip = json_bool(entry, "lstrip", false, where);
    token.rstrip = json_bool(entry, "rstrip", false, where);
    token.normalized = json_bool(entry, "normalized", !token.special, where);
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
      fail(ErrorCode::invalid_tokenizer, where, " has ", token.content.size(), " bytes; 1 to ", kMaxAddedTokenBytes,
           " are accepted");
    }
    result.push_back(std::move(token));
  }
  return result;
}

class Builder {
 public:
  Builder(std::string_view text, const std::string& origin, const TokenizerSideFiles& side)
      : origin_(origin), side_(side), json_(read_tokenizer_json(text, origin)), impl_(new Tokenizer::Impl) {}

  std::shared_ptr<const Tokenizer::Impl> build() {
    refuse_normalizer(field_or_null(json_.rest, "normalizer"), origin_);
    bool byte_level = false;
    const Json decoder = field_or_null(json_.rest, "decoder");
    if (!decoder.is_null()) check_decoder(decoder, origin_ + ": decoder", byte_level, 0);
    if (!byte_level) fail(ErrorCode::unsupported, origin_, ": the decoder is not ByteLevel");
    const Bpe::Options options = model_options(field_or_null(json_.rest, "model"), origin_);
    if (!json_.has_vocab) fail(ErrorCode::invalid_tokenizer, origin_, ": model lacks the object \"vocab\"");
    if (!json_.has_merges) fail(ErrorCode::invalid_tokenizer, origin_, ": model lacks the array \"merges\"");
    impl_->pre_tokenizer = std::make_unique<const PreTokenizer>(field_or_null(json_.rest, "pre_tokenizer"), origin_);
    impl_->post_processor = PostProcessor(field_or_null(json_.rest, "post_processor"), origin_);
    added_ = read_added_tokens(json_.rest, origin_);
    impl_->bpe = std::make_unique<const Bpe>(json_.vocab, json_.merges, options, origin_);
    fill_tokens();
    if (!side_.tokenizer_config.empty()) {
      config_ = read_side_json(side_.tokenizer_config, side_origin(origin_, "tokenizer_config.json"));
    }
    if (!side_.special_tokens_map.empty()) {
      special_map_ = read_side_json(side_.special_tokens_map, side_origin(origin_, "special_tokens_map.json"));
    }
    read_named_tokens(options);
    for (const uint32_t id : impl_->post_processor.ids()) {
      if (id < impl_->tokens.size() && impl_->tokens[id].exists) continue;
      fail(ErrorCode::invalid_tokenizer, origin_, ": post_processor inserts the id ", id, ", which no token has");
    }
    split_added_tokens();
    read_config();
    return impl_;
  }

 private:
  /// The table of all tokens by id and by text: the vocabulary's, then the added ones.
  void fill_tokens() {
    const size_t count = json_.vocab.size() + added_.size();
    // Ids may have gaps, but a table over all of them must stay in proportion to the file.
    const size_t limit = 64 * count + 65536;
    size_t largest = 0;
    const auto look = [&](uint32_t id, const std::string& text) {
      if (id >= limit) {
        fail(ErrorCode::invalid_tokenizer, origin_, ": the token \"", text, "\" has the id ", id, "; with ", count,
             " tokens, ids below ", limit, " are accepted");
      }
      largest = std::max<size_t>(largest, id);
    };
    for (const auto& [text, id] : json_.vocab) look(id, text);
    for (const AddedToken& token : added_) look(token.id, token.content);
    if (count == 0) fail(ErrorCode::invalid_tokenizer, origin_, ": there are no tokens at all");
    auto& tokens = impl_->tokens;
    tokens.resize(largest + 1);
    for (auto& [text, id] : json_.vocab) tokens[id] = {std::move(text), {}, true, false};
    for (const AddedToken& token : added_) {
      TokenInfo& info = tokens[token.id];
      if (info.exists && info.text != token.content) {
        fail(ErrorCode::invalid_tokenizer, origin_, ": the id ", token.id, " belongs to \"", info.text, "\" and to \"",
             token.content, "\"");
      }
      info = {token.content, {}, true, info.special || token.special};
    }
    impl_->ids = StringTable(count);
    for (size_t id = 0; id < tokens.size(); ++id) {
      TokenInfo& info = tokens[id];
      if (!info.exists) continue;
      const uint32_t other = impl_->ids.insert(info.text, static_cast<uint32_t>(id));
      if (other != StringTable::kNone) {
        fail(ErrorCode::invalid_tokenizer, origin_, ": the token \"", info.text, "\" has two ids, ", other, " and ",
             id);
      }
      info.bytes = byte_level_bytes(info.text).value_or(info.text);
    }
  }

  /// The token that a config file names under `key`: a string or {"content": ...}; tokenizer_config.json wins.
  std::optional<std::string> named(const char* key) const {
    for (const Json* file : {&config_, &special_map_}) {
      if (!file->is_object()) continue;
      Json value = field_or_null(*file, key);
      if (value.is_object()) value = field_or_null(value, "content");
      if (value.is_string()) return value.get<std::string>();
    }
    return std::nullopt;
  }

  void mark_special(uint32_t id) {
    TokenInfo& info = impl_->tokens[id];
    info.special = true;
    const auto known = std::find_if(added_.begin(), added_.end(), [&](const auto& token) { return token.id == id; });
    if (known != added_.end()) {
      known->special = true;
    } else if (info.text.size() <= kMaxAddedTokenBytes && !info.text.empty()) {
      // Named special but only in the vocabulary: from now on found in text like the others, as Transformers has it.
      added_.push_back({info.text, id, false, false, false, false, true});
    }
  }

  void read_named_tokens(const Bpe::Options& options) {
    for (const char* key : kNamedTokens) {
      std::optional<std::string> name = named(key);
      if (!name && std::string_view(key) == "unk_token") name = options.unk_token;
      if (!name || name->empty()) continue;
      const uint32_t id = impl_->ids.find(*name);
      if (id == StringTable::kNone) {
        warn(origin_, ": the ", key, " \"", *name, "\" is not in the vocabulary; ignored");
        continue;
      }
      if (named(key)) mark_special(id);
      impl_->template_variables.emplace_back(key, *name);
      SpecialIds& ids = impl_->special_ids;
      const std::array<std::pair<std::string_view, std::optional<int64_t>*>, 4> wanted{
          {{"bos_token", &ids.bos}, {"eos_token", &ids.eos}, {"pad_token", &ids.pad}, {"unk_token", &ids.unk}}};
      for (const auto& [which, slot] : wanted) {
        if (which == key) *slot = id;
      }
    }
  }

  void split_added_tokens() {
    std::vector<AddedToken> raw;
    std::vector<AddedToken> normalized;
    for (AddedToken& token : added_) (token.normalized ? normalized : raw).push_back(std::move(token));
    impl_->raw_added = AddedTokenMatcher(std::move(raw));
    impl_->normalized_added = AddedTokenMatcher(std::move(normalized));
  }

  void read_config() {
    std::string chat_template = side_.chat_template;
    std::string where = side_origin(origin_, "chat_template.jinja");
    if (config_.is_object()) {
      const std::string config_name = side_origin(origin_, "tokenizer_config.json");
      // Transformers 5 does not clean up after byte-level BPE, whatever the first key says, without the second.
      impl_->clean_up = json_bool(config_, "clean_up_tokenization_spaces", false, config_name) &&
                        json_bool(config_, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
                                  false, config_name);
      const Json length = field_or_null(config_, "model_max_length");  // "no limit" is written as 1e30
      if (length.is_number_unsigned() && length.get<uint64_t>() <= uint64_t{1} << 40) {
        impl_->model_max_length = length.get<int64_t>();
      }
      const Json value = field_or_null(config_, "chat_template");
      if (chat_template.empty() && !value.is_null()) {
        chat_template = template_text(value, config_name);
        where = config_name + ": chat_template";
      }
    }
    if (!chat_template.empty()) impl_->chat_template.emplace(chat_template, where);
  }

  /// A string, or a list of {"name", "template"}: the one named "default".
  static std::string template_text(const Json& value, const std::string& where) {
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_array()) fail(ErrorCode::invalid_tokenizer, where, ": chat_template is neither a string nor a list");
    for (const Json& entry : value) {
      if (json_string(entry, "name", where) == "default") return json_string(entry, "template", where);
    }
    return {};
  }

  const std::string& origin_;
  const TokenizerSideFiles& side_;
  TokenizerJson json_;
  Json config_;
  Json special_map_;
  std::vector<AddedToken> added_;
  std::shared_ptr<Tokenizer::Impl> impl_;
};

}  // namespace

std::shared_ptr<const Tokenizer::Impl> parse_tokenizer(std::string_view json_text, const std::string& origin,
                                                       const TokenizerSideFiles& side_files) {
  return Builder(json_text, origin, side_files).build();
}

}  // namespace bamba
