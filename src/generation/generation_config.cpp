// generation_config.json -> GenerationConfig.
#include <bamba/generation.h>

#include <array>
#include <filesystem>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/warning.h"

namespace bamba {
namespace {

/// Real files have a few hundred bytes; lists of bad words may add some.
constexpr uint64_t kMaxBytes = uint64_t{8} << 20;

/// Takes typed values out of the file's object. A missing key and null both mean "not set": the default stays.
class Reader {
 public:
  Reader(const Json& object, const std::string& origin) : object_(object), origin_(origin) {}

  const Json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  template <typename... Rule>
  [[noreturn]] void reject(const char* key, const Rule&... rule) const {
    fail(ErrorCode::invalid_config, origin_, ": ", key, " ", rule...);
  }

  int64_t integer(const char* key, const Json& value) const {
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() ||
                       value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
    if (!fits) reject(key, "must be an integer that fits in 63 bits");
    return value.get<int64_t>();
  }
  double number(const char* key, const Json& value) const {
    if (!is_json_number(value)) reject(key, "must be a number");
    return json_number(value);
  }
  /// One id or a list of them.
  std::vector<int64_t> ids(const char* key, const Json& value) const {
    if (!value.is_array()) return {integer(key, value)};
    std::vector<int64_t> out;
    for (const Json& item : value) out.push_back(integer(key, item));
    return out;
  }

  void read(const char* key, int64_t& out) const {
    if (const Json* value = find(key)) out = integer(key, *value);
  }
  void read(const char* key, std::optional<int64_t>& out) const {
    if (const Json* value = find(key)) out = integer(key, *value);
  }
  void read(const char* key, double& out) const {
    if (const Json* value = find(key)) out = number(key, *value);
  }
  void read(const char* key, std::optional<double>& out) const {
    if (const Json* value = find(key)) out = number(key, *value);
  }
  void read(const char* key, bool& out) const {
    if (const Json* value = find(key)) {
      if (!value->is_boolean()) reject(key, "must be true or false");
      out = value->get<bool>();
    }
  }
  void read(const char* key, std::vector<int64_t>& out) const {
    if (const Json* value = find(key)) out = ids(key, *value);
  }

 private:
  const Json& object_;
  const std::string& origin_;
};

void read_early_stopping(const Reader& in, GenerationConfig& c) {
  const Json* value = in.find("early_stopping");
  if (value == nullptr) return;
  if (value->is_boolean()) {
    c.early_stopping = value->get<bool>() ? EarlyStopping::yes : EarlyStopping::no;
  } else if (value->is_string() && *value == "never") {
    c.early_stopping = EarlyStopping::never;
  } else {
    in.reject("early_stopping", "must be true, false or \"never\"");
  }
}

void read_stop_strings(const Reader& in, GenerationConfig& c) {
  const Json* value = in.find("stop_strings");
  if (value == nullptr) return;
  const Json list = value->is_array() ? *value : Json::array({*value});
  c.stop_strings.clear();
  for (const Json& item : list) {
    if (!item.is_string()) in.reject("stop_strings", "must be a string or a list of strings");
    c.stop_strings.push_back(item.get<std::string>());
  }
}

void read_bad_words(const Reader& in, GenerationConfig& c) {
  const Json* value = in.find("bad_words_ids");
  if (value == nullptr) return;
  c.bad_words_ids.clear();
  if (!value->is_array()) in.reject("bad_words_ids", "must be a list of lists of token ids");
  for (const Json& word : *value) {
    if (!word.is_array()) in.reject("bad_words_ids", "must be a list of lists of token ids");
    c.bad_words_ids.push_back(in.ids("bad_words_ids", word));
  }
}

/// [[[token, ...], bias], ...]: Transformers' form. A bias on one token is a logit_bias here.
void read_sequence_bias(const Reader& in, const std::string& origin, GenerationConfig& c) {
  const Json* value = in.find("sequence_bias");
  if (value == nullptr) return;
  constexpr const char* kRule = "must be a list of [[token ids], bias]";
  if (!value->is_array()) in.reject("sequence_bias", kRule);
  for (const Json& item : *value) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_array()) in.reject("sequence_bias", kRule);
    const auto ids = in.ids("sequence_bias", item[0]);
    const double bias = in.number("sequence_bias", item[1]);
    if (ids.size() == 1) {
      c.logit_bias[ids[0]] = bias;
    } else {
      warn(origin, ": sequence_bias of ", ids.size(), " tokens is not supported and has no effect");
    }
  }
}

/// Keys that would change what Transformers generates and that this engine does not have, with the JSON value at
/// which they change nothing (null always does). Being silent about them would be wrong.
void warn_about_unsupported(const Reader& in, const std::string& origin) {
  static const std::array<std::pair<const char*, Json>, 18> kKeys = {{
      {"penalty_alpha", 0.0},
      {"num_beam_groups", 1},
      {"diversity_penalty", 0.0},
      {"encoder_repetition_penalty", 1.0},
      {"encoder_no_repeat_ngram_size", 0},
      {"guidance_scale", 1.0},
      {"suppress_tokens", Json::array()},
      {"begin_suppress_tokens", Json::array()},
      {"exponential_decay_length_penalty", nullptr},
      {"renormalize_logits", false},
      {"top_h", nullptr},
      {"constraints", nullptr},
      {"force_words_ids", nullptr},
      {"watermarking_config", nullptr},
      {"dola_layers", nullptr},
      {"max_time", nullptr},
      {"token_healing", false},
      {"decoder_start_token_id", nullptr},
  }};
  for (const auto& [key, neutral] : kKeys) {
    const Json* value = in.find(key);
    if (value != nullptr && *value != neutral) warn(origin, ": ", key, " is not supported and has no effect");
  }
}

}  // namespace

GenerationConfig GenerationConfig::from_model_config(const BambaConfig& config) {
  GenerationConfig out;
  out.bos_token_id = config.bos_token_id;
  out.eos_token_id = config.eos_token_id;
  out.pad_token_id = config.pad_token_id;
  return out;
}

GenerationConfig GenerationConfig::from_json(std::string_view text, const std::string& origin,
                                             const BambaConfig& config) {
  const Json object = parse_json(text, origin, ErrorCode::invalid_config);
  if (!object.is_object()) fail(ErrorCode::invalid_config, origin, ": must hold a JSON object");
  const Reader in(object, origin);
  GenerationConfig c = from_model_config(config);

  in.read("max_length", c.max_length);
  in.read("max_new_tokens", c.max_new_tokens);
  in.read("min_length", c.min_length);
  in.read("min_new_tokens", c.min_new_tokens);
  read_stop_strings(in, c);
  in.read("do_sample", c.do_sample);
  in.read("num_beams", c.num_beams);
  in.read("num_return_sequences", c.num_return_sequences);
  in.read("length_penalty", c.length_penalty);
  read_early_stopping(in, c);
  in.read("repetition_penalty", c.repetition_penalty);
  in.read("presence_penalty", c.presence_penalty);
  in.read("frequency_penalty", c.frequency_penalty);
  in.read("no_repeat_ngram_size", c.no_repeat_ngram_size);
  read_bad_words(in, c);
  read_sequence_bias(in, origin, c);
  in.read("forced_bos_token_id", c.forced_bos_token_id);
  in.read("forced_eos_token_id", c.forced_eos_token_id);
  in.read("remove_invalid_values", c.remove_invalid_values);
  in.read("temperature", c.temperature);
  in.read("top_k", c.top_k);
  in.read("top_p", c.top_p);
  in.read("min_p", c.min_p);
  in.read("typical_p", c.typical_p);
  in.read("epsilon_cutoff", c.epsilon_cutoff);
  in.read("eta_cutoff", c.eta_cutoff);
  in.read("bos_token_id", c.bos_token_id);
  in.read("eos_token_id", c.eos_token_id);
  in.read("pad_token_id", c.pad_token_id);
  in.read("prefill_chunk_size", c.prefill_chunk_size);
  warn_about_unsupported(in, origin);
  return c;
}

GenerationConfig GenerationConfig::from_pretrained(const std::filesystem::path& directory, const BambaConfig& config) {
  const auto path = directory / "generation_config.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return from_model_config(config);
  return from_json(read_file(path, kMaxBytes), path.string(), config);
}

}  // namespace bamba
