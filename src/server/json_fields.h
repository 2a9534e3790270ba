// Reading a request's JSON body: each field with its type and range checked, and named in the error.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace bamba::server {

/// Parses a body: JSON that is an object. Throws ApiError(400).
Json parse_body(std::string_view body);

/// The members of an object. A null counts as absent. Every function throws ApiError(400) that names the field.
class Fields {
 public:
  /// `prefix` is put before names in errors ("response_format.").
  explicit Fields(const Json& object, std::string prefix = {}) : object_(object), prefix_(std::move(prefix)) {}

  const Json* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  std::optional<bool> boolean(std::string_view name) const;
  /// Whole numbers, also when they are spelled 5.0.
  std::optional<int64_t> integer(std::string_view name, int64_t low = std::numeric_limits<int64_t>::min(),
                                 int64_t high = std::numeric_limits<int64_t>::max()) const;
  std::optional<double> number(std::string_view name, double low, double high) const;
  std::optional<std::string> string(std::string_view name) const;
  const Json* object(std::string_view name) const;
  const Json* array(std::string_view name) const;

  std::string path(std::string_view name) const { return prefix_ + std::string(name); }

 private:
  const Json& object_;
  std::string prefix_;
};

/// A value that is a whole number, also when spelled 5.0; nothing for anything else.
std::optional<int64_t> whole_number(const Json& value);
/// A list of token ids in [0, vocab_size).
std::vector<int64_t> token_ids(const Json& list, const std::string& param, int64_t vocab_size);

}  // namespace bamba::server
