// Snapshots in a folder: found again after a restart, written by a thread of its own, the least recently used removed
// when their bytes run over.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/snapshot_file.h"

namespace bamba {

struct StateStoreOptions {
  std::filesystem::path directory;  ///< of all models; each has a folder in it
  uint64_t max_bytes = 0;           ///< of all of these together
  size_t queue_bytes = 0;           ///< of snapshots that wait to be written; one may always wait
};

/// All functions are for one thread; the writing thread is inside. It touches nothing but a HostSnapshot's bytes and
/// the file: never a model or its backend. Other processes may use the same folder: files appear whole and under a name
/// that their contents decide, and one that another process has removed is a miss.
class StateStore {
 public:
  /// Reads the headers of what lies there. Throws Error(io) when the folder cannot be made or read.
  StateStore(const StateStoreOptions& options, SnapshotOwner owner);
  /// Writes what waits.
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  struct Found {
    std::string name;
    SnapshotInfo info;
  };
  /// What the constructor found, the least recently used first.
  std::vector<Found> take_found() { return std::move(found_); }

  enum class Room { yes, later, never };
  /// May a snapshot of so many bytes be given to write() now?
  Room room(size_t bytes, size_t tokens) const;
  /// Queues a snapshot, under snapshot_file_name(ids). Makes room among the files.
  void write(HostSnapshot snapshot, std::vector<int64_t> ids, SnapshotKind kind);
  /// Returns when nothing waits any more.
  void wait();

  struct Change {
    std::string name;
    bool present;
  };
  /// Files that came or went since the last call.
  std::vector<Change> take_changes();

  /// Empty when it is gone, or damaged and thus removed (take_changes() says so, too).
  std::optional<HostSnapshot> load(const std::string& name, std::span<const int64_t> ids);
  /// Removes the file, if it is written. reject() counts it as damaged.
  void remove(const std::string& name);
  void reject(const std::string& name);

  uint64_t bytes() const { return own_bytes_; }
  uint64_t count() const { return own_.size(); }
  uint64_t rejected() const { return rejected_; }

 private:
  struct File {
    std::filesystem::path path;
    std::string name;  ///< empty: of another model
    uint64_t bytes = 0;
    bool queued = false;
  };
  using Files = std::list<File>;  ///< the least recently used first

  struct Job {
    HostSnapshot snapshot;
    std::vector<int64_t> ids;
    SnapshotKind kind;
    std::string name;
    uint64_t file_bytes = 0;  ///< 0: it could not be written, because of:
    std::string error;
  };

  void remove_leftovers();
  void scan();
  void add_file(File file);
  void forget(Files::iterator file);
  void make_room(uint64_t bytes);
  void collect();
  void work();

  const StateStoreOptions options_;
  const SnapshotOwner owner_;
  std::filesystem::path folder_;
  int lock_ = -1;
  std::vector<Found> found_;

  Files files_;
  std::unordered_map<std::string, Files::iterator> own_;  ///< by name
  uint64_t all_bytes_ = 0;                                ///< of files_
  uint64_t own_bytes_ = 0;
  uint64_t rejected_ = 0;
  size_t waiting_bytes_ = 0;  ///< of jobs that were not collected yet
  std::vector<Change> changes_;
  bool warned_ = false;
  std::chrono::steady_clock::time_point paused_until_;

  std::mutex mutex_;  ///< of all below
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<Job> queue_;
  std::vector<Job> done_;
  bool busy_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace bamba
