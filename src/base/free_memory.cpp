#include "base/free_memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace bamba {
namespace {

/// A file that holds one number; "max" and whatever else is no number is nothing.
std::optional<uint64_t> number_in(const std::filesystem::path& path) {
  std::ifstream in(path);
  uint64_t value = 0;
  return in >> value ? std::optional(value) : std::nullopt;
}

/// The number after `key` in a file of "key value" lines.
std::optional<uint64_t> value_of(const std::filesystem::path& path, const std::string& key) {
  std::ifstream in(path);
  std::string word;
  while (in >> word) {
    uint64_t value = 0;
    if (word == key) return in >> value ? std::optional(value) : std::nullopt;
    in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

/// Files that were read and lie in memory count as used, and are given up when memory is asked for.
std::optional<uint64_t> left_in_group(const std::filesystem::path& folder, const char* limit_name,
                                      const char* used_name, const char* reclaimable) {
  const auto limit = number_in(folder / limit_name);
  const auto used = number_in(folder / used_name);
  if (!limit || !used) return std::nullopt;
  const uint64_t held = *used - std::min(*used, value_of(folder / "memory.stat", reclaimable).value_or(0));
  return *limit - std::min(*limit, held);
}

/// Where the process's group lies below the groups' root: the "0::/..." line.
std::filesystem::path own_group(const std::filesystem::path& root) {
  std::ifstream in(root / "proc/self/cgroup");
  std::string line;
  while (std::getline(in, line)) {
    // Relative whatever the line holds: the groups above are found by going up until nothing is left.
    if (line.starts_with("0::/")) return std::filesystem::path(line.substr(3)).relative_path();
  }
  return {};
}

}  // namespace

size_t free_memory_bytes(const std::filesystem::path& root) {
  std::optional<uint64_t> left;
  const auto bound = [&](std::optional<uint64_t> by) {
    if (by) left = std::min(left.value_or(*by), *by);
  };
  if (const auto kibibytes = value_of(root / "proc/meminfo", "MemAvailable:")) bound(*kibibytes * 1024);
  const auto groups = root / "sys/fs/cgroup";
  // Each group above bounds those in it: a slice of services may have the only limit. In a container the root is the
  // process's own group.
  for (std::filesystem::path group = own_group(root);; group = group.parent_path()) {
    bound(left_in_group(groups / group, "memory.max", "memory.current", "inactive_file"));
    if (group.empty()) break;
  }
  bound(left_in_group(groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
  return static_cast<size_t>(left.value_or(0));
}

}  // namespace bamba
