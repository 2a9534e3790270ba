#include "io/companions.h"

#include <cstdint>

#include "base/file.h"

namespace bamba {
namespace {

constexpr const char* kNames[] = {"generation_config.json",  "tokenizer.json",      "tokenizer_config.json",
                                  "special_tokens_map.json", "chat_template.jinja", "chat_template.json"};
constexpr uint64_t kMaxBytes = uint64_t{256} << 20;

}  // namespace

void copy_companions(const std::filesystem::path& source, const std::filesystem::path& target) {
  for (const char* name : kNames) {
    const std::filesystem::path path = source / name;
    if (std::filesystem::exists(path)) write_file_atomically(target / name, read_file(path, kMaxBytes));
  }
}

}  // namespace bamba
