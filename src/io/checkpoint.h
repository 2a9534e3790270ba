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

/// "weight_map" of an index file, checked: at least one tensor, no tensor twice, every value a plain file name (no path
/// parts), so that an index cannot reach outside its folder. Other keys ("metadata") have no effect.
/// Throws Error(invalid_checkpoint) naming `origin`, the tensor and the value.
std::map<std::string, std::string, std::less<>> parse_checkpoint_index(std::string_view json,
                                                                       const std::string& origin);

class Checkpoint {
 public:
  /// Opens DIR's model.safetensors, or else the shards that DIR's index names. When both are there the single file
  /// wins, as in Transformers, with a warning. Throws Error(invalid_checkpoint) that names a missing shard, a tensor
  /// that the index promises and its shard lacks, or one that a shard holds and the index does not put there, and says
  /// which files were looked for when there is neither; Error(io).
  static Checkpoint open(const std::filesystem::path& directory);

  bool contains(std::string_view name) const { return location_.contains(name); }
  std::vector<std::string> names() const;
  /// These throw Error(invalid_checkpoint) when there is no such tensor.
  const SafetensorsEntry& entry(std::string_view name) const&;
  const SafetensorsEntry& entry(std::string_view name) const&& = delete;  // it would outlive its checkpoint
  Tensor tensor(std::string_view name) const;
  uint64_t total_bytes() const { return total_bytes_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }

  /// Advice to the kernel: this tensor's bytes will be read soon / are not needed any more (they leave the process's
  /// resident memory at once; a later read brings them back from the file).
  void will_need(std::string_view name) const;
  void release(std::string_view name) const;

 private:
  void open_shards(const std::filesystem::path& directory, const std::filesystem::path& index);
  const SafetensorsFile& file_of(std::string_view name) const;
  std::string directory_of_files() const;

  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t, std::less<>> location_;  // tensor -> files_ index
  uint64_t total_bytes_ = 0;
};

/// Saves tensors as a checkpoint folder's weights: one model.safetensors, or, past max_shard_bytes, shards named
/// model-00001-of-0000N.safetensors with an index file (a tensor larger than that gets a shard of its own). `fill` is
/// called once per declared tensor, in order, and must append exactly its bytes to the writer. The folder is made if
/// it does not exist.
///
/// Everything is written under temporary names first; a failure up to there (a full disk, a throwing `fill`) leaves the
/// folder as it was. Then the files are renamed into place, and the weights of an older checkpoint that are not part of
/// this one (model.safetensors, the index, shards of another count) are removed, in an order in which the folder opens
/// as the old checkpoint or as the new one, but never as a mix: if the process dies while a sharded checkpoint replaces
/// one of as many shards, the folder is left without an index and does not open.
/// `before_renaming`, if any, is called once between the two: what it throws leaves the folder as it was as well.
/// Throws Error(invalid_argument), Error(io), Error(internal) when `fill` appends another number of bytes.
void save_checkpoint(const std::filesystem::path& directory, const std::vector<SafetensorsWriter::Declaration>& tensors,
                     uint64_t max_shard_bytes,
                     const std::function<void(const SafetensorsWriter::Declaration&, SafetensorsWriter&)>& fill,
                     const std::function<void()>& before_renaming = {});

}  // namespace bamba
