#include "server/json_fields.h"

#include <cmath>
#include <vector>

#include "base/str.h"
#include "server/api_error.h"

namespace bamba::server {
namespace {

[[noreturn]] void wrong_type(const std::string& param, const Json& value, std::string_view wanted) {
  throw ApiError(400, str(param, " is ", value.type_name(), " where ", wanted, " is needed"), param, "invalid_type");
}

[[noreturn]] void out_of_range(const std::string& param, const std::string& value, const std::string& allowed) {
  throw ApiError(400, str(param, " is ", value, "; it must be ", allowed), param, "invalid_value");
}

}  // namespace

Json parse_body(std::string_view body) {
  Json value;
  try {
    value = parse_json(body, "the request's body", ErrorCode::invalid_argument);
  } catch (const Error& error) {
    throw ApiError(400, error.what(), {}, "invalid_json");
  }
  if (!value.is_object()) {
    throw ApiError(400, str("the request's body is ", value.type_name(), " where an object is needed"), {},
                   "invalid_type");
  }
  return value;
}

const Json* Fields::find(std::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> Fields::boolean(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_boolean()) wrong_type(path(name), *value, "true or false");
  return value->get<bool>();
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t low, int64_t high) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  const std::optional<int64_t> whole = whole_number(*value);
  if (!whole && !value->is_number()) wrong_type(path(name), *value, "a whole number");
  if (!whole || *whole < low || *whole > high) {
    const bool open = high == std::numeric_limits<int64_t>::max();
    out_of_range(path(name), value->dump(),
                 open ? str("a whole number, ", low, " or more") : str("a whole number from ", low, " to ", high));
  }
  return whole;
}

std::optional<double> Fields::number(std::string_view name, double low, double high) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_number()) wrong_type(path(name), *value, "a number");
  const auto number = value->get<double>();
  if (!(number >= low && number <= high)) {
    out_of_range(path(name), value->dump(),
                 std::isinf(high) ? str("a number, ", low, " or more") : str("a number from ", low, " to ", high));
  }
  return number;
}

std::optional<std::string> Fields::string(std::string_view name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_string()) wrong_type(path(name), *value, "a string");
  return value->get<std::string>();
}

const Json* Fields::object(std::string_view name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_object()) wrong_type(path(name), *value, "an object");
  return value;
}

const Json* Fields::array(std::string_view name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_array()) wrong_type(path(name), *value, "a list");
  return value;
}

std::optional<int64_t> whole_number(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return {};
  const auto number = value.get<double>();
  // 2^63 itself is out of range; below it every whole double converts exactly.
  if (std::floor(number) != number || !(std::fabs(number) < 9223372036854775808.0)) return {};
  return static_cast<int64_t>(number);
}

std::vector<int64_t> token_ids(const Json& list, const std::string& param, int64_t vocab_size) {
  std::vector<int64_t> ids;
  ids.reserve(list.size());
  for (const Json& item : list) {
    const std::optional<int64_t> id = whole_number(item);
    if (!id) wrong_type(param, item, "a token id");
    if (*id < 0 || *id >= vocab_size) {
      out_of_range(param, std::to_string(*id), str("token ids in [0, ", vocab_size, ")"));
    }
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace bamba::server
