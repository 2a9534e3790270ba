// A checkpoint folder: model.safetensors, or shards named by model.safetensors.index.json, seen as one set of tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.h"

namespace bamba {

/// "weight_map" of an index file, checked: every value a plain file name (no path parts), names unique.
/// Throws Error(invalid_checkpoint).
std::map<std::string, std::string, std::less<>> parse_checkpoint_index(std::string_view json,
                                                                       const std::string& origin);

class Checkpoint {
 public:
  /// Opens DIR's index if there is one, else its model.safetensors. Throws Error(invalid_checkpoint) that names a
  /// missing shard, a tensor that the index promises and its shard lacks (or the other way round), and says which
  /// files were looked for when there is neither.
  static Checkpoint open(const std::filesystem::path& directory);

  bool contains(std::string_view name) const { return location_.contains(name); }
  std::vector<std::string> names() const;
  const SafetensorsEntry& entry(std::string_view name) const;
  Tensor tensor(std::string_view name) const;
  uint64_t total_bytes() const { return total_bytes_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }

  /// Advice to the kernel: this tensor's bytes will be read soon / are not needed any more (they leave the process's
  /// resident memory at once; a later read brings them back from the file).
  void will_need(std::string_view name) const;
  void release(std::string_view name) const;

 private:
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t, std::less<>> location_;  // tensor -> files_ index
  uint64_t total_bytes_ = 0;
};

/// Saves tensors as a checkpoint folder's weights: one model.safetensors, or, past max_shard_bytes, shards named
/// model-00001-of-0000N.safetensors with an index file. `fill` is called once per declared tensor, in order, and must
/// append exactly its bytes to the writer. Everything is written under temporary names first; a failure leaves the
/// older files as they were.
void save_checkpoint(const std::filesystem::path& directory,
                     const std::vector<SafetensorsWriter::Declaration>& tensors, uint64_t max_shard_bytes,
                     const std::function<void(const SafetensorsWriter::Declaration&, SafetensorsWriter&)>& fill);

}  // namespace bamba
