#include "server/api_keys.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/str.h"
#include "server/http.h"

namespace bamba::server {

bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  unsigned different = given.size() == secret.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const char other = secret.empty() ? '\0' : secret[i % secret.size()];
    different |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(other);
  }
  return different == 0;
}

void ApiKeys::add(std::string key) {
  const bool good = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (!good) {
    fail(ErrorCode::invalid_argument, "an API key must be of printable ASCII characters without spaces, at least one");
  }
  keys_.push_back(std::move(key));
}

void ApiKeys::add_file(const std::filesystem::path& path) {
  const std::string text = read_file(path, uint64_t{1} << 20);
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos || line[first] == '#') continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
    try {
      add(std::move(line));
    } catch (const Error& error) {
      fail(ErrorCode::invalid_file, path.string(), ": line ", line_number, ": ", error.what());
    }
  }
  if (keys_.empty()) fail(ErrorCode::invalid_file, path.string(), ": holds no key");
}

bool ApiKeys::accept(std::string_view authorization) const {
  constexpr std::string_view scheme = "Bearer ";
  if (authorization.size() <= scheme.size() || !equal_ignoring_case(authorization.substr(0, scheme.size()), scheme)) {
    return false;
  }
  const std::string_view given = authorization.substr(scheme.size());
  bool found = false;
  for (const std::string& key : keys_) found |= equal_in_constant_time(given, key);  // all of them, whichever fits
  return found;
}

}  // namespace bamba::server
