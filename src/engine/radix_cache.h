// The cache of sequence states: a radix tree over token ids whose nodes hold forks in memory, files on disk, or both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "engine/state_cache.h"

namespace bamba {

struct StateCacheOptions {
  size_t bytes = 0;                        ///< of snapshots in memory; what they share counts once
  std::filesystem::path state_dir;         ///< empty: none on disk
  uint64_t state_dir_bytes = 0;            ///< of the files
  size_t tree_bytes = size_t{64} << 20;    ///< of the tree: token ids of the snapshots and of texts that went by
  size_t write_bytes = size_t{512} << 20;  ///< of snapshots that wait to be written
};

/// `model` must outlive the cache. Without a byte nor a state_dir it only remembers texts. Throws Error(io) when
/// state_dir cannot be used.
///
/// Memory: when bytes run over, snapshots go in this order: first those of kind stride that a longer one of the same
/// text has followed and that were never used; then those whose last use lies most requests (calls of find()) back,
/// among these by kind, among these the longest. A stride snapshot that was used counts as a junction from then on.
///
/// Disk: all kinds but stride are written soon after insert() by a thread of the cache's own, strides when they have to
/// leave memory (but for those of the first sort above). Snapshots that wait are bounded by write_bytes; those for
/// which there is no room wait for a later call, and are lost only when memory runs over before.
std::unique_ptr<StateCache> make_state_cache(StepModel& model, const StateCacheOptions& options);

}  // namespace bamba
