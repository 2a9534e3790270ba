#include "engine/state_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/checksum.h"
#include "base/hex.h"
#include "base/str.h"
#include "base/warning.h"
#include "model/host_snapshot.h"

namespace bamba {
namespace {

namespace fs = std::filesystem;

/// After a failed write the disk is left alone for so long.
constexpr std::chrono::seconds kPause(30);
constexpr const char* kLockName = "lock";
constexpr std::string_view kTemporary = ".tmp-";  ///< what AtomicFile puts between a file's name and its numbers

std::string folder_name(const std::string& identity) {
  Checksum64 sum;
  sum.add(identity);
  return "model-" + hex(sum.value());
}

/// A file that a crash left half written.
bool is_leftover(std::string_view name) {
  const size_t at = name.find(kTemporary);
  return at != std::string_view::npos && is_snapshot_file_name(name.substr(0, at));
}

/// Makes the file the youngest, after a restart too. The time of a write that the system keeps is some milliseconds
/// coarse, too coarse to tell who was used last. Where it is refused the file is merely older than it should be.
void make_youngest(const fs::path& path) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::array<timespec, 2> times = {now, now};
  static_cast<void>(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0));
}

}  // namespace

StateStore::StateStore(const StateStoreOptions& options, SnapshotOwner owner)
    : options_(options), owner_(std::move(owner)), folder_(options.directory / folder_name(owner_.identity)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(ErrorCode::io, "cannot make the folder ", folder_, " for snapshots: ", error.message());
  lock_ = ::open((folder_ / kLockName).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) fail(ErrorCode::io, "cannot write in ", folder_, ": ", std::strerror(errno));
  try {
    remove_leftovers();
    scan();
    thread_ = std::thread([this] { work(); });
  } catch (const std::exception& problem) {
    ::close(lock_);
    fail(ErrorCode::io, "cannot read the folder ", options_.directory, " of snapshots: ", problem.what());
  }
}

StateStore::~StateStore() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  ::close(lock_);
}

void StateStore::remove_leftovers() {
  // Everybody who uses the folder holds the lock together; who can have it alone knows that half-written files are
  // nobody's. Without locks (some network file systems have none) they stay.
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (is_leftover(entry.path().filename().string())) fs::remove(entry.path(), error);
    }
  }
  static_cast<void>(::flock(lock_, LOCK_SH));
}

void StateStore::scan() {
  struct Aged {
    fs::file_time_type time;
    File file;
  };
  std::vector<Aged> aged;
  std::unordered_map<std::string, SnapshotInfo> infos;
  std::error_code error;
  for (const auto& model : fs::directory_iterator(options_.directory)) {
    const bool own = model.path().filename() == folder_.filename();
    if (!model.path().filename().string().starts_with("model-") || !model.is_directory(error)) continue;
    for (const auto& entry : fs::directory_iterator(model.path(), error)) {
      const std::string name = entry.path().filename().string();
      if (!is_snapshot_file_name(name)) continue;
      const auto bytes = entry.file_size(error);
      if (error) continue;
      const auto time = entry.last_write_time(error);
      if (own) {
        try {
          SnapshotInfo info = read_snapshot_info(entry.path(), owner_);
          if (info.ids.empty() || snapshot_file_name(info.ids) != name) {
            fail(ErrorCode::invalid_file, name, " holds another text than its name says");
          }
          infos.emplace(name, std::move(info));
        } catch (const Error&) {
          ++rejected_;
          fs::remove(entry.path(), error);
          continue;
        }
      }
      aged.push_back({time, {entry.path(), own ? name : std::string(), bytes, false}});
    }
  }
  std::stable_sort(aged.begin(), aged.end(), [](const Aged& a, const Aged& b) { return a.time < b.time; });
  for (Aged& item : aged) add_file(std::move(item.file));
  make_room(0);
  changes_.clear();
  for (const File& file : files_) {
    if (!file.name.empty()) found_.push_back({file.name, std::move(infos.at(file.name))});
  }
}

void StateStore::add_file(File file) {
  all_bytes_ += file.bytes;
  const bool own = !file.name.empty();
  if (own) own_bytes_ += file.bytes;
  files_.push_back(std::move(file));
  if (own) own_[files_.back().name] = std::prev(files_.end());
}

void StateStore::forget(Files::iterator file) {
  all_bytes_ -= file->bytes;
  if (!file->name.empty()) {
    own_bytes_ -= file->bytes;
    own_.erase(file->name);
    changes_.push_back({file->name, false});
  }
  files_.erase(file);
}

void StateStore::make_room(uint64_t bytes) {
  for (auto at = files_.begin(); at != files_.end() && all_bytes_ + bytes > options_.max_bytes;) {
    const auto file = at++;
    if (file->queued) continue;
    std::error_code error;
    fs::remove(file->path, error);
    forget(file);
  }
}

StateStore::Room StateStore::room(size_t bytes, size_t tokens) const {
  if (snapshot_file_bytes(bytes, tokens, owner_.identity) > options_.max_bytes) return Room::never;
  if (std::chrono::steady_clock::now() < paused_until_) return Room::later;
  const bool free = waiting_bytes_ == 0 || waiting_bytes_ + bytes <= options_.queue_bytes;
  // Files that wait cannot be removed for others.
  return free && waiting_bytes_ + bytes <= options_.max_bytes ? Room::yes : Room::later;
}

void StateStore::write(HostSnapshot snapshot, std::vector<int64_t> ids, SnapshotKind kind) {
  const std::string name = snapshot_file_name(ids);
  if (own_.contains(name)) return;
  const uint64_t bytes = snapshot_file_bytes(snapshot.bytes(), ids.size(), owner_.identity);
  make_room(bytes);
  add_file({folder_ / name, name, bytes, true});
  waiting_bytes_ += snapshot.bytes();
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(snapshot), std::move(ids), kind, name, 0, {}});
  }
  wake_.notify_one();
}

void StateStore::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    try {
      job.file_bytes = write_snapshot_file(folder_ / job.name, job.snapshot, job.ids, job.kind, owner_);
      make_youngest(folder_ / job.name);
    } catch (const std::exception& error) {
      job.error = error.what();
    }
    lock.lock();
    // Memory that is shared with states is given back by the thread that uses them (collect()): it may write in place
    // what only it holds, and must have seen this thread's reading end.
    done_.push_back(std::move(job));
    busy_ = false;
    idle_.notify_all();
  }
}

void StateStore::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

void StateStore::collect() {
  std::vector<Job> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (const Job& job : done) {
    waiting_bytes_ -= job.snapshot.bytes();
    const auto file = own_.at(job.name);
    if (job.file_bytes > 0) {
      all_bytes_ -= file->bytes - job.file_bytes;
      own_bytes_ -= file->bytes - job.file_bytes;
      file->bytes = job.file_bytes;
      file->queued = false;
      changes_.push_back({job.name, true});
      continue;
    }
    forget(file);
    paused_until_ = std::chrono::steady_clock::now() + kPause;
    if (!std::exchange(warned_, true)) {
      warn("snapshots of sequences cannot be kept on disk: ", job.error, "; it will be tried again now and then");
    }
  }
}

std::vector<StateStore::Change> StateStore::take_changes() {
  collect();
  return std::exchange(changes_, {});
}

std::optional<HostSnapshot> StateStore::load(const std::string& name, std::span<const int64_t> ids) {
  const auto found = own_.find(name);
  if (found == own_.end() || found->second->queued) return std::nullopt;
  const fs::path& path = found->second->path;
  std::error_code error;
  if (!fs::exists(path, error)) {
    forget(found->second);
    return std::nullopt;
  }
  try {
    SnapshotInfo info;
    HostSnapshot snapshot = read_snapshot_file(path, owner_, info);
    if (!std::equal(ids.begin(), ids.end(), info.ids.begin(), info.ids.end())) {
      fail(ErrorCode::invalid_file, name, " holds another text than its name says");
    }
    files_.splice(files_.end(), files_, found->second);
    make_youngest(path);
    return snapshot;
  } catch (const Error&) {
    reject(name);
    return std::nullopt;
  }
}

void StateStore::reject(const std::string& name) {
  ++rejected_;
  remove(name);
}

void StateStore::remove(const std::string& name) {
  const auto found = own_.find(name);
  if (found == own_.end() || found->second->queued) return;
  std::error_code error;
  fs::remove(found->second->path, error);
  forget(found->second);
}

}  // namespace bamba
