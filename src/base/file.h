// Files: whole-file reads with a bound, read-only maps, and writes that appear under their name only when complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace bamba {

/// Reads a regular file whole. Throws Error(io) naming the path (also for a folder, pipe or device);
/// Error(invalid_file) if larger than max_bytes.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes);

/// A regular file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  /// Throws Error(io) naming the path when it cannot be opened or mapped.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  /// Tells the kernel that [offset, offset+bytes) will be read soon / is not needed any more. Advice only.
  void will_need(size_t offset, size_t bytes) const;
  void dont_need(size_t offset, size_t bytes) const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes to a temporary name in the target's folder; commit() renames it into place. Destroyed without commit():
/// the temporary is removed and an older file of that name stays as it was. A link is followed. A device or a pipe
/// has no such protection: it takes the bytes as they come, and stays what it is.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends; throws Error(io) with the reason (a full disk says so).
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Flushes to the disk and closes; nothing can be written any more. What can fail for want of space or by a broken
  /// disk has failed by now, so several files that belong together are all finished before the first is committed.
  void finish();
  /// finish(), unless that was done, and the renaming.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path renamed_to_;  ///< target_, links followed
  std::filesystem::path temporary_;   ///< empty: the bytes go to a device or a pipe
  int fd_ = -1;
  bool committed_ = false;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace bamba
