#include "cli/line_options.h"

#include <limits>

#include "base/str.h"

namespace bamba::cli {
namespace {

/// The value under one of two names; null counts as missing.
const Json* value_of(const Json& line, const char* name, const char* other, const std::string& where) {
  const auto find = [&](const char* key) -> const Json* {
    const auto at = line.find(key);
    return at == line.end() || at->is_null() ? nullptr : &*at;
  };
  const Json* value = find(name);
  if (other == nullptr) return value;
  const Json* second = find(other);
  if (value != nullptr && second != nullptr) {
    fail(ErrorCode::invalid_file, where, ": give \"", name, "\" or \"", other, "\", not both");
  }
  return value != nullptr ? value : second;
}

[[noreturn]] void reject(const std::string& where, const char* name, const char* wanted) {
  fail(ErrorCode::invalid_file, where, ": \"", name, "\" must be ", wanted);
}

std::optional<int64_t> whole(const Json& line, const char* name, const char* other, const std::string& where) {
  const Json* value = value_of(line, name, other, where);
  if (value == nullptr) return std::nullopt;
  // No sequence is that long; it keeps sums of lengths far from overflow.
  constexpr int64_t kLargest = int64_t{1} << 40;
  if (!value->is_number_unsigned() || value->get<uint64_t>() > static_cast<uint64_t>(kLargest)) {
    reject(where, name, "a whole number, 0 or more");
  }
  return value->get<int64_t>();
}

std::optional<double> real(const Json& line, const char* name, const std::string& where) {
  const Json* value = value_of(line, name, nullptr, where);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) reject(where, name, "a number");
  return value->get<double>();
}

std::optional<std::vector<std::string>> texts(const Json& line, const char* name, const std::string& where) {
  const Json* value = value_of(line, name, nullptr, where);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  std::vector<std::string> out;
  if (!value->is_array()) reject(where, name, "a string or a list of strings");
  for (const Json& item : *value) {
    if (!item.is_string()) reject(where, name, "a string or a list of strings");
    out.push_back(item.get<std::string>());
  }
  return out;
}

/// Numbers by value, so that the hash is the same in every build.
class ConfigHash {
 public:
  explicit ConfigHash(Fnv1a& hash) : hash_(hash) {}
  void add(int64_t value) { hash_.add(&value, sizeof(value)); }
  void add(double value) { hash_.add(&value, sizeof(value)); }
  void add(bool value) { add(int64_t{value}); }
  void add(const std::string& text) {
    add(static_cast<int64_t>(text.size()));
    hash_.add(text);
  }
  template <typename T>
  void add(const std::optional<T>& value) {
    add(value.has_value());
    if (value) add(*value);
  }
  template <typename T>
  void add(const std::vector<T>& values) {
    add(static_cast<int64_t>(values.size()));
    for (const T& value : values) add(value);
  }

 private:
  Fnv1a& hash_;
};

}  // namespace

bool LineOptions::empty() const {
  return !max_new_tokens && !num_return_sequences && !top_k && !temperature && !top_p && !min_p && !do_sample &&
         !seed && !stop;
}

void LineOptions::overlay(GenerationConfig& config) const {
  if (max_new_tokens) config.max_new_tokens = max_new_tokens;
  if (num_return_sequences) config.num_return_sequences = *num_return_sequences;
  if (top_k) config.top_k = *top_k;
  if (temperature) config.temperature = *temperature;
  if (top_p) config.top_p = *top_p;
  if (min_p) config.min_p = min_p;
  if (do_sample) config.do_sample = *do_sample;
  if (seed) config.seed = *seed;
  if (stop) config.stop_strings = *stop;
}

LineOptions line_options(const Json& line, const std::string& where) {
  LineOptions out;
  out.max_new_tokens = whole(line, "max_new_tokens", "max_tokens", where);
  out.num_return_sequences = whole(line, "num_return_sequences", "n", where);
  out.top_k = whole(line, "top_k", nullptr, where);
  out.temperature = real(line, "temperature", where);
  out.top_p = real(line, "top_p", where);
  out.min_p = real(line, "min_p", where);
  if (const Json* value = value_of(line, "do_sample", nullptr, where)) {
    if (!value->is_boolean()) reject(where, "do_sample", "true or false");
    out.do_sample = value->get<bool>();
  }
  if (const Json* value = value_of(line, "seed", nullptr, where)) {
    if (!value->is_number_unsigned()) reject(where, "seed", "a whole number, 0 or more");
    out.seed = value->get<uint64_t>();
  }
  out.stop = texts(line, "stop", where);
  return out;
}

void add_to_hash(Fnv1a& hash, const GenerationConfig& c) {
  ConfigHash to(hash);
  to.add(c.max_length);
  to.add(c.max_new_tokens);
  to.add(c.min_length);
  to.add(c.min_new_tokens);
  to.add(c.stop_strings);
  to.add(c.do_sample);
  to.add(c.num_return_sequences);
  for (const double value : {c.repetition_penalty, c.presence_penalty, c.frequency_penalty, c.temperature, c.top_p,
                             c.typical_p, c.epsilon_cutoff, c.eta_cutoff}) {
    to.add(value);
  }
  to.add(c.no_repeat_ngram_size);
  to.add(c.bad_words_ids);
  for (const auto& [id, bias] : c.logit_bias) {
    to.add(id);
    to.add(bias);
  }
  to.add(c.forced_bos_token_id);
  to.add(c.forced_eos_token_id);
  to.add(c.remove_invalid_values);
  to.add(c.top_k);
  to.add(c.min_p);
  to.add(c.bos_token_id);
  to.add(c.eos_token_id);
  to.add(c.output_logprobs);
  to.add(c.top_logprobs);
}

}  // namespace bamba::cli
