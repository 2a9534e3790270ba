// Files of a checkpoint folder that say nothing about its weights: the tokenizer's and the generation's settings.
#pragma once

#include <filesystem>

namespace bamba {

/// Copies those that `source` has into the folder `target`, each appearing whole or not at all. Throws Error(io).
void copy_companions(const std::filesystem::path& source, const std::filesystem::path& target);

}  // namespace bamba
