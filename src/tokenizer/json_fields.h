// Fields of a tokenizer.json object, with errors that name the place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/str.h"

namespace bamba {

inline const Json& json_field(const Json& json, std::string_view key, const std::string& where) {
  if (!json.is_object()) fail(ErrorCode::invalid_tokenizer, where, " is not a JSON object");
  const auto found = json.find(key);
  if (found == json.end()) fail(ErrorCode::invalid_tokenizer, where, " lacks \"", key, "\"");
  return *found;
}

inline std::string json_string(const Json& json, std::string_view key, const std::string& where) {
  const Json& value = json_field(json, key, where);
  if (!value.is_string()) fail(ErrorCode::invalid_tokenizer, where, ": \"", key, "\" is not a string");
  return value.get<std::string>();
}

inline const Json& json_array(const Json& json, std::string_view key, const std::string& where) {
  const Json& value = json_field(json, key, where);
  if (!value.is_array()) fail(ErrorCode::invalid_tokenizer, where, ": \"", key, "\" is not an array");
  return value;
}

inline const Json& json_object(const Json& json, std::string_view key, const std::string& where) {
  const Json& value = json_field(json, key, where);
  if (!value.is_object()) fail(ErrorCode::invalid_tokenizer, where, ": \"", key, "\" is not an object");
  return value;
}

inline bool json_bool(const Json& json, std::string_view key, bool fallback, const std::string& where) {
  if (!json.is_object()) fail(ErrorCode::invalid_tokenizer, where, " is not a JSON object");
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return fallback;
  if (!found->is_boolean()) fail(ErrorCode::invalid_tokenizer, where, ": \"", key, "\" is not true or false");
  return found->get<bool>();
}

/// A token id: a whole number from 0 to 2^31 - 1.
inline uint32_t json_id(const Json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX) {
    fail(ErrorCode::invalid_tokenizer, where, " is ", value.dump(-1, ' ', false, Json::error_handler_t::replace),
         "; ids are whole numbers from 0 to 2147483647");
  }
  return value.get<uint32_t>();
}

}  // namespace bamba
