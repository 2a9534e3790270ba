// One snapshot of a sequence state in a file of its own, with the token ids that it holds: safetensors, the state's
// bytes as they lie in memory. Only for the same model, program and kind of machine; what is to last longer is saved
// with SequenceState::save().
#pragma once

#include <bamba/sequence_state.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/state_cache.h"

namespace bamba {

/// The name of the file for a snapshot that holds `ids`.
std::string snapshot_file_name(std::span<const int64_t> ids);
bool is_snapshot_file_name(std::string_view name);

/// An upper bound for the file's size.
uint64_t snapshot_file_bytes(size_t state_bytes, size_t tokens, const std::string& identity);

/// Whose a file is: StepModel::identity() and StepModel::state_layout().
struct SnapshotOwner {
  std::string identity;
  std::string layout;
};

/// Atomically. Returns the file's size. Throws Error(io).
uint64_t write_snapshot_file(const std::filesystem::path& path, const HostSnapshot& snapshot,
                             std::span<const int64_t> ids, SnapshotKind kind, const SnapshotOwner& owner);

struct SnapshotInfo {
  std::vector<int64_t> ids;
  SnapshotKind kind = SnapshotKind::stride;
};

/// Reads the header and the ids, and checks these. Throws Error(invalid_file | invalid_checkpoint) when they are
/// damaged or another model's, Error(io).
SnapshotInfo read_snapshot_info(const std::filesystem::path& path, const SnapshotOwner& owner);

/// The same with the state, all of it checked; the snapshot's bytes are the mapped file. `info` takes what
/// read_snapshot_info() would return.
HostSnapshot read_snapshot_file(const std::filesystem::path& path, const SnapshotOwner& owner, SnapshotInfo& info);

}  // namespace bamba
