// Reading the library's warnings instead of printing them.
#pragma once

#include <bamba/progress.h>

#include <string>
#include <string_view>
#include <vector>

namespace bamba::test {

/// Collects warnings for as long as it lives; afterwards they are silenced.
class Warnings {
 public:
  Warnings() {
    set_warning_handler([this](std::string_view message) { all_.emplace_back(message); });
  }
  ~Warnings() { set_warning_handler({}); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  const std::vector<std::string>& all() const { return all_; }
  /// All of them, a line each.
  std::string text() const {
    std::string out;
    for (const std::string& message : all_) out.append(message).append("\n");
    return out;
  }
  bool mention(std::string_view word) const { return text().find(word) != std::string::npos; }

 private:
  std::vector<std::string> all_;
};

}  // namespace bamba::test
