// Keys that clients must present, compared in a time that does not tell how much of a guess was right.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace bamba::server {

/// Whether the texts are equal, in a time that depends on the length of `given` only.
bool equal_in_constant_time(std::string_view given, std::string_view secret);

class ApiKeys {
 public:
  /// Throws Error(invalid_argument) for a key that no header can carry; the message does not show the key.
  void add(std::string key);
  /// One key a line; empty lines and those that begin with # are left out. Throws Error(io), Error(invalid_file).
  void add_file(const std::filesystem::path& path);
  bool required() const { return !keys_.empty(); }
  /// Whether an Authorization header ("Bearer KEY") carries one of the keys.
  bool accept(std::string_view authorization) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace bamba::server
