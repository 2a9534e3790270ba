#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/str.h"

namespace bamba {
namespace {

/// Owns a descriptor for the length of a scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int open_regular(const std::filesystem::path& path, uint64_t& size) {
  // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(ErrorCode::io, "cannot open ", path, ": ", std::strerror(errno));
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    fail(ErrorCode::io, "cannot read ", path, ": not a regular file");
  }
  size = static_cast<uint64_t>(status.st_size);
  return fd;
}

/// Rounds [offset, offset+bytes) inwards or outwards to pages and passes it to madvise.
void advise(const std::byte* base, size_t size, size_t offset, size_t bytes, int advice, bool inwards) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  size_t begin = inwards ? (offset + page - 1) / page * page : offset / page * page;
  size_t end = offset + bytes;
  if (inwards) end = end / page * page;
  if (end > size) end = size;
  if (begin >= end) return;
  ::madvise(const_cast<std::byte*>(base) + begin, end - begin, advice);
}

}  // namespace

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  uint64_t size = 0;
  const Descriptor fd(open_regular(path, size));
  if (size > max_bytes) {
    fail(ErrorCode::invalid_file, path, " has ", size, " bytes; at most ", max_bytes, " are accepted");
  }
  std::string text(static_cast<size_t>(size), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ErrorCode::io, "cannot read ", path, ": ", std::strerror(errno));
    if (got == 0) fail(ErrorCode::io, "cannot read ", path, ": it became shorter while being read");
    done += static_cast<size_t>(got);
  }
  return text;
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  uint64_t size = 0;
  const Descriptor fd(open_regular(path, size));
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<size_t>(size);
  if (size > 0) {
    void* address = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) fail(ErrorCode::io, "cannot map ", path, ": ", std::strerror(errno));
    file->data_ = static_cast<std::byte*>(address);
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void MappedFile::will_need(size_t offset, size_t bytes) const {
  if (data_ != nullptr) advise(data_, size_, offset, bytes, MADV_WILLNEED, false);
}

void MappedFile::dont_need(size_t offset, size_t bytes) const {
  if (data_ != nullptr) advise(data_, size_, offset, bytes, MADV_DONTNEED, true);
}

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  static std::atomic<unsigned> counter{0};
  std::error_code error;
  const auto kind = std::filesystem::status(target_, error).type();
  using Type = std::filesystem::file_type;
  const bool special = kind == Type::character || kind == Type::block || kind == Type::fifo || kind == Type::socket;
  if (special) {
    // A renaming would put a file in the place of /dev/null or of a pipe that somebody reads.
    fd_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail(ErrorCode::io, "cannot write ", target_, ": ", std::strerror(errno));
    return;
  }
  // A link stays a link: what it points to is replaced.
  std::filesystem::path place = target_;
  constexpr int kMaxLinks = 40;
  for (int links = 0; std::filesystem::is_symlink(place, error); ++links) {
    const auto next = std::filesystem::read_symlink(place, error);
    if (error || links == kMaxLinks) fail(ErrorCode::io, "cannot write ", target_, ": its links lead nowhere");
    place = place.parent_path() / next;
  }
  renamed_to_ = place;
  // A crashed run may have left a file behind that bears this process's number.
  do {
    temporary_ = place;
    temporary_ += str(".tmp-", ::getpid(), "-", counter.fetch_add(1));
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail(ErrorCode::io, "cannot create ", temporary_, ": ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!committed_ && !temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (fd_ < 0) fail(ErrorCode::internal, "write to ", target_, " after it was finished");
  const char* cursor = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::write(fd_, cursor, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(ErrorCode::io, "cannot write ", target_, ": ", std::strerror(errno));
    cursor += put;
    bytes -= static_cast<size_t>(put);
  }
}

void AtomicFile::finish() {
  if (fd_ < 0) return;
  // File systems that cannot sync say EINVAL or EROFS; the data is as safe there as it gets.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) {
    fail(ErrorCode::io, "cannot write ", target_, ": ", std::strerror(errno));
  }
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) fail(ErrorCode::io, "cannot write ", target_, ": ", std::strerror(errno));
}

void AtomicFile::commit() {
  if (committed_) fail(ErrorCode::internal, "second commit of ", target_);
  finish();
  if (!temporary_.empty() && ::rename(temporary_.c_str(), renamed_to_.c_str()) != 0) {
    fail(ErrorCode::io, "cannot write ", target_, ": ", std::strerror(errno));
  }
  committed_ = true;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace bamba
