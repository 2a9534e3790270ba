// Snapshots of sequence states, found by the token ids that they hold: a radix tree over ids.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "generation/step_model.h"

namespace bamba {

/// Why a snapshot is kept; when memory runs short, the cheaper to lose go first among those unused for equally long.
enum class SnapshotKind { stride, junction, prompt_end, reply_end };

struct CacheHit {
  std::unique_ptr<StepState> state;  ///< a fork, the caller's; null: nothing fits
  int64_t length = 0;                ///< tokens it holds
  bool from_disk = false;
};

struct StateCacheStats {
  size_t bytes = 0;
  uint64_t snapshots = 0;
  uint64_t evictions = 0;
  uint64_t disk_bytes = 0;
  uint64_t disk_snapshots = 0;
  uint64_t disk_rejected = 0;
};

/// What the engine asks of a cache. One thread at a time.
class StateCache {
 public:
  StateCache() = default;
  virtual ~StateCache() = default;
  StateCache(const StateCache&) = delete;
  StateCache& operator=(const StateCache&) = delete;

  /// The longest snapshot of a beginning of `ids` with at most max_length tokens.
  virtual CacheHit find(std::span<const int64_t> ids, int64_t max_length) = 0;
  /// How far `ids` goes along with any text that has been through: where a snapshot would serve the next such text.
  virtual int64_t shared_length(std::span<const int64_t> ids) const = 0;
  /// Keeps a fork of `state`, which holds exactly `ids`.
  virtual void insert(std::span<const int64_t> ids, const StepState& state, SnapshotKind kind) = 0;
  /// Writes what is not on disk yet; returns when it is there.
  virtual void flush() = 0;
  virtual StateCacheStats stats() const = 0;
};

}  // namespace bamba
