// A scratch folder for targets whose subject opens files.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"

namespace bamba {

/// Made under TMPDIR (or /tmp) and removed at exit; a fuzzer that crashes leaves it.
class FuzzFolder {
 public:
  FuzzFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "bamba-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      std::perror("mkdtemp");
      std::abort();
    }
    path_ = name;
  }
  ~FuzzFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  FuzzFolder(const FuzzFolder&) = delete;
  FuzzFolder& operator=(const FuzzFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void put(std::string_view name, std::string_view text) const {
    // Not atomic: no sync to the disk, thousands of times a second.
    std::FILE* file = std::fopen((path_ / name).c_str(), "wb");
    if (file == nullptr || std::fwrite(text.data(), 1, text.size(), file) != text.size() || std::fclose(file) != 0) {
      std::perror("cannot write the input");
      std::abort();
    }
  }

 private:
  std::filesystem::path path_;
};

}  // namespace bamba
