// Message building: str("tensor ", name, " has ", n, " bytes").
#pragma once

#include <bamba/error.h>

#include <cstdint>
#include <span>
#include <sstream>
#include <string>
#include <string_view>

namespace bamba {

template <typename... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  throw Error(code, str(parts...));
}

/// "[2, 3, 4]": the way shapes and lists are shown in every message.
template <typename T>
std::string list_str(std::span<const T> values) {
  std::ostringstream out;
  out << '[';
  for (size_t i = 0; i < values.size(); ++i) out << (i ? ", " : "") << values[i];
  out << ']';
  return out.str();
}

/// Text out of a file, fit for a message on a terminal: control characters and bytes that are not UTF-8 become \xNN,
/// and what is longer than max_bytes ends in "...".
std::string printable(std::string_view text, size_t max_bytes = 120);
/// printable() in double quotes.
std::string quote(std::string_view text, size_t max_bytes = 120);

}  // namespace bamba
