#include "base/free_memory.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_folder.h"

namespace bamba {
namespace {

void put(const test::TempFolder& root, const std::string& name, const std::string& text) {
  const std::filesystem::path path = root / name;
  std::filesystem::create_directories(path.parent_path());
  test::write_text(path, text);
}

TEST(FreeMemory, OfThisMachine) {
  EXPECT_GT(free_memory_bytes(), size_t{1} << 20);
}

TEST(FreeMemory, TheLeastOfWhatTheSystemSays) {
  const test::TempFolder root;
  EXPECT_EQ(free_memory_bytes(root / ""), 0U);
  put(root, "proc/meminfo", "MemTotal:       100 kB\nMemFree:  7 kB\nMemAvailable:    50 kB\nBuffers: 1 kB\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 50U * 1024);
  // No limit is no bound.
  put(root, "sys/fs/cgroup/memory.max", "max\n");
  put(root, "sys/fs/cgroup/memory.current", "1000\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 50U * 1024);
  put(root, "sys/fs/cgroup/memory.max", "21000\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 20000U);
  // Files that lie in memory are given up when it is asked for.
  put(root, "sys/fs/cgroup/memory.stat", "anon 500\ninactive_file 400\nactive_file 100\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 20400U);
  // The process's own group is tighter.
  put(root, "proc/self/cgroup", "0::/user/mine\n");
  put(root, "sys/fs/cgroup/user/mine/memory.max", "9000\n");
  put(root, "sys/fs/cgroup/user/mine/memory.current", "8000\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 1000U);
  put(root, "sys/fs/cgroup/user/mine/memory.current", "9500\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 0U);
}

TEST(FreeMemory, GroupsAboveBoundTheirMembers) {
  const test::TempFolder root;
  put(root, "proc/self/cgroup", "0::/system.slice/mine.slice/mine@1.service\n");
  put(root, "sys/fs/cgroup/system.slice/mine.slice/mine@1.service/memory.max", "max\n");
  put(root, "sys/fs/cgroup/system.slice/mine.slice/mine@1.service/memory.current", "100\n");
  put(root, "sys/fs/cgroup/system.slice/mine.slice/memory.max", "7000\n");
  put(root, "sys/fs/cgroup/system.slice/mine.slice/memory.current", "3000\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 4000U);
  put(root, "sys/fs/cgroup/system.slice/memory.max", "6000\n");
  put(root, "sys/fs/cgroup/system.slice/memory.current", "5000\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 1000U);
}

TEST(FreeMemory, GroupsOfTheFirstKind) {
  const test::TempFolder root;
  put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n");
  put(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n");
  put(root, "sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_inactive_file 300\n");
  EXPECT_EQ(free_memory_bytes(root / ""), 3300U);
}

}  // namespace
}  // namespace bamba
