// Bounded reads, maps that outlive their file's name, and files that appear only when complete.
#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "base/str.h"
#include "support/error.h"
#include "support/temp_folder.h"

namespace bamba {
namespace {

using test::expect_error;
using test::TempFolder;
using Names = std::vector<std::string>;

TEST(ReadFile, ReadsWholeUpToTheBound) {
  const TempFolder folder;
  const std::string text("a\0b\xff\n", 5);
  const auto path = folder.put("x", text);
  EXPECT_EQ(read_file(path, 5), text);
  expect_error(ErrorCode::invalid_file, {path.string(), "5 bytes", "at most 4"}, [&] { read_file(path, 4); });
  EXPECT_EQ(read_file(folder.put("empty", ""), 0), "");
}

TEST(ReadFile, RefusesWhatIsNotARegularFile) {
  const TempFolder folder;
  const auto missing = folder / "missing";
  expect_error(ErrorCode::io, {missing.string(), "No such file"}, [&] { read_file(missing, 10); });
  expect_error(ErrorCode::io, {folder.path().string(), "not a regular file"}, [&] { read_file(folder.path(), 10); });
  // A pipe without a writer: opening it must not wait.
  const auto pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error(ErrorCode::io, {pipe.string(), "not a regular file"}, [&] { read_file(pipe, 10); });
  expect_error(ErrorCode::io, {pipe.string(), "not a regular file"}, [&] { MappedFile::open(pipe); });
  expect_error(ErrorCode::io, {"/dev/zero", "not a regular file"}, [&] { read_file("/dev/zero", 10); });
}

TEST(MappedFile, ShowsTheFilesBytes) {
  const TempFolder folder;
  std::string text(100000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  const auto path = folder.put("x", text);
  const auto file = MappedFile::open(path);
  EXPECT_EQ(file->path(), path);
  ASSERT_EQ(file->size(), text.size());
  // Advice of any extent changes nothing about the contents, for ranges at and past the end too.
  for (const size_t offset : {size_t{0}, size_t{1}, size_t{5000}, size_t{99999}, size_t{100000}}) {
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{8192}, size_t{100000}}) {
      file->will_need(offset, bytes);
      file->dont_need(offset, bytes);
    }
  }
  EXPECT_EQ(std::memcmp(file->data(), text.data(), text.size()), 0);
}

TEST(MappedFile, HoldsTheOldContentsWhenTheFileIsReplaced) {
  const TempFolder folder;
  const auto path = folder.put("x", "old");
  const auto file = MappedFile::open(path);
  write_file_atomically(path, "new!");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->data()), file->size()), "old");
  EXPECT_EQ(folder.get("x"), "new!");
}

TEST(MappedFile, EmptyAndMissing) {
  const TempFolder folder;
  EXPECT_EQ(MappedFile::open(folder.put("empty", ""))->size(), 0U);
  expect_error(ErrorCode::io, {(folder / "missing").string()}, [&] { MappedFile::open(folder / "missing"); });
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TempFolder folder;
  folder.put("x", "old");
  {
    AtomicFile file(folder / "x");
    file.write("ne");
    file.write("w");
    EXPECT_EQ(folder.get("x"), "old");
    file.finish();
    EXPECT_EQ(folder.get("x"), "old");
    expect_error(ErrorCode::internal, {(folder / "x").string()}, [&] { file.write("more"); });
    file.commit();
    EXPECT_EQ(folder.get("x"), "new");
    expect_error(ErrorCode::internal, {(folder / "x").string()}, [&] { file.commit(); });
  }
  EXPECT_EQ(folder.get("x"), "new");
  EXPECT_EQ(folder.list(), Names{"x"});
}

TEST(AtomicFile, LeavesTheOldFileWhenAbandoned) {
  const TempFolder folder;
  folder.put("x", "old");
  { AtomicFile(folder / "x").write("half of the n"); }
  {
    AtomicFile finished(folder / "x");
    finished.write("whole");
    finished.finish();
  }
  EXPECT_EQ(folder.get("x"), "old");
  EXPECT_EQ(folder.list(), Names{"x"});
}

TEST(AtomicFile, ReportsWhatTheSystemRefuses) {
  const TempFolder folder;
  const auto lost = folder / "no/such/x";
  expect_error(ErrorCode::io, {lost.string(), "No such file"}, [&] { AtomicFile{lost}; });
  // The target is a folder: the renaming fails, and the temporary file goes.
  std::filesystem::create_directory(folder / "dir");
  expect_error(ErrorCode::io, {(folder / "dir").string()}, [&] { write_file_atomically(folder / "dir", "x"); });
  EXPECT_EQ(folder.list(), Names{"dir"});
}

TEST(AtomicFile, SaysThatTheDiskIsFull) {
  // Every write to /dev/full fails as on a full disk.
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  const TempFolder folder;
  folder.put("x", "old");
  AtomicFile file(folder / "x");
  // Points the open descriptor of the temporary file at the full device.
  const auto names = folder.list();
  ASSERT_EQ(names.size(), 2U);
  int target = -1;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry.path(), error) == folder / names[1]) {
      target = std::stoi(entry.path().filename().string());
    }
  }
  ASSERT_GE(target, 0);
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  ASSERT_EQ(::dup2(::fileno(full), target), target);
  std::fclose(full);
  expect_error(ErrorCode::io, {(folder / "x").string(), "No space left"}, [&] { file.write("new"); });
  EXPECT_EQ(folder.get("x"), "old");
}

TEST(AtomicFile, WritesIntoAPipeWithoutReplacingIt) {
  // The same goes for devices, /dev/null first: a renaming would put a plain file in their place.
  const TempFolder folder;
  const auto path = folder / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  write_file_atomically(path, "text");
  { AtomicFile(path).write("x"); }  // never committed: there is nothing to take back, and nothing to remove
  std::string got(16, ' ');
  const ssize_t bytes = ::read(reader, got.data(), got.size());
  ::close(reader);
  ASSERT_GT(bytes, 0);
  EXPECT_EQ(got.substr(0, static_cast<size_t>(bytes)), "textx");
  EXPECT_TRUE(std::filesystem::is_fifo(path));
  EXPECT_EQ(folder.list(), Names{"pipe"});
}

TEST(AtomicFile, FollowsLinks) {
  const TempFolder folder;
  folder.put("x", "old");
  std::filesystem::create_symlink("x", folder / "link");
  std::filesystem::create_symlink("not yet", folder / "dangling");
  write_file_atomically(folder / "link", "new");
  write_file_atomically(folder / "dangling", "first");
  EXPECT_EQ(folder.get("x"), "new");
  EXPECT_EQ(folder.get("not yet"), "first");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "dangling"));
}

TEST(AtomicFile, StepsOverAnotherRunsLeftovers) {
  const TempFolder folder;
  // Where the counter stands is not known here: take every name that is near.
  for (int i = 0; i < 200; ++i) folder.put(str("x.tmp-", ::getpid(), "-", i), "left over");
  write_file_atomically(folder / "x", "new");
  EXPECT_EQ(folder.get("x"), "new");
  EXPECT_EQ(folder.list().size(), 201U);
}

TEST(AtomicFile, TwoWritersOfOneNameDoNotMix) {
  const TempFolder folder;
  AtomicFile first(folder / "x");
  AtomicFile second(folder / "x");
  first.write("aaaa");
  second.write("bb");
  second.commit();
  first.commit();
  EXPECT_EQ(folder.get("x"), "aaaa");
}

}  // namespace
}  // namespace bamba
