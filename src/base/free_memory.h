// How much memory this process may still take.
#pragma once

#include <cstddef>
#include <filesystem>

namespace bamba {

/// What the machine has available and the process's control group, with those above it, still allows, in bytes. Where
/// none of them says anything, 0. `root` is where the system's files are looked up; "/" but in tests.
size_t free_memory_bytes(const std::filesystem::path& root = "/");

}  // namespace bamba
