// Snapshots on disk with the demo model: whatever happens to files, a continuation is exact or starts cold.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/demo_steps.h"
#include "engine/radix_cache.h"
#include "engine/snapshot_file.h"
#include "generation/memory_ledger.h"
#include "io/safetensors.h"
#include "support/error.h"
#include "support/same_bits.h"
#include "support/temp_folder.h"
#include "support/warnings.h"

namespace bamba {
namespace {

using test::DemoSteps;
using test::Ids;
using test::same_bits;
using test::TempFolder;

namespace fs = std::filesystem;

StateCacheOptions with_disk(const fs::path& folder, size_t memory = size_t{256} << 20) {
  return {.bytes = memory, .state_dir = folder, .state_dir_bytes = uint64_t{1} << 30};
}

std::span<const int64_t> first(const Ids& ids, size_t count) {
  return std::span(ids).first(count);
}

/// All files of snapshots below the folder.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (is_snapshot_file_name(entry.path().filename().string())) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

void expect_continues(DemoSteps& demo, StateCache& cache, const Ids& ids, int64_t length, bool from_disk) {
  CacheHit hit = cache.find(ids, static_cast<int64_t>(ids.size()) - 1);
  ASSERT_EQ(hit.length, length);
  ASSERT_NE(hit.state, nullptr);
  EXPECT_EQ(hit.from_disk, from_disk);
  EXPECT_EQ(hit.state->length(), length);
  EXPECT_TRUE(same_bits(demo.read(*hit.state, std::span(ids).subspan(static_cast<size_t>(length))), demo.cold(ids)));
}

TEST(StateStore, HitsFromMemoryAndDiskContinueAsColdStartsDo) {
  for (const KvFormat kv : {KvFormat::f32, KvFormat::bf16}) {
    SCOPED_TRACE(kv_format_name(kv));
    const TempFolder folder;
    DemoSteps demo(kv);
    const Ids ids = demo.text(1, 150);
    {
      const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
      auto state = demo.step.new_state();
      demo.read(*state, first(ids, 70));
      cache->insert(first(ids, 70), *state, SnapshotKind::junction);
      demo.read(*state, std::span(ids).subspan(70, 60));  // the cached fork must not follow
      cache->insert(first(ids, 130), *state, SnapshotKind::prompt_end);
      expect_continues(demo, *cache, ids, 130, false);
      expect_continues(demo, *cache, Ids(ids.begin(), ids.begin() + 100), 70, false);
    }
    // A new start of the program.
    const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
    EXPECT_EQ(cache->stats().disk_snapshots, 2U);
    EXPECT_EQ(cache->stats().snapshots, 0U);
    EXPECT_EQ(cache->shared_length(ids), 130);
    expect_continues(demo, *cache, ids, 130, true);
    expect_continues(demo, *cache, ids, 130, false);
    expect_continues(demo, *cache, Ids(ids.begin(), ids.begin() + 100), 70, true);
    EXPECT_EQ(cache->stats().disk_rejected, 0U);
  }
}

TEST(StateStore, SharedPagesCountOnce) {
  DemoSteps demo;
  const auto cache = make_state_cache(demo.step, {.bytes = size_t{256} << 20, .state_dir = {}});
  const Ids ids = demo.text(1, 200);
  auto state = demo.step.new_state();
  demo.read(*state, first(ids, 64));
  cache->insert(first(ids, 64), *state, SnapshotKind::stride);
  const size_t one = cache->stats().bytes;
  EXPECT_EQ(one, state->bytes());
  demo.read(*state, std::span(ids).subspan(64, 1));
  cache->insert(first(ids, 65), *state, SnapshotKind::prompt_end);
  MemoryLedger both;
  both.add(*cache->find(ids, 64).state);
  const size_t more = both.missing(*state);
  EXPECT_LT(more, state->bytes()) << "the full page is shared";
  EXPECT_EQ(cache->stats().bytes, one + more);
}

TEST(StateStore, WhatLeavesMemoryIsFoundOnDisk) {
  const TempFolder folder;
  DemoSteps demo;
  const Ids a = demo.text(1, 40);
  const Ids b = demo.text(2, 40);
  const size_t one = demo.state_of(first(a, 30))->bytes();
  const auto cache = make_state_cache(demo.step, with_disk(folder.path(), one));
  cache->insert(first(a, 30), *demo.state_of(first(a, 30)), SnapshotKind::stride);
  cache->find(b, 39);
  cache->insert(first(b, 30), *demo.state_of(first(b, 30)), SnapshotKind::stride);
  EXPECT_EQ(cache->stats().snapshots, 1U);
  EXPECT_EQ(cache->stats().evictions, 1U);
  EXPECT_LE(cache->stats().bytes, one);
  cache->flush();
  EXPECT_EQ(cache->stats().disk_snapshots, 2U) << "flush() writes strides, too";
  expect_continues(demo, *cache, a, 30, true);
  EXPECT_LE(cache->stats().bytes, one);
  expect_continues(demo, *cache, b, 30, true);
}

TEST(StateStore, ASnapshotTooLargeForMemoryIsStillKeptOnDisk) {
  const TempFolder folder;
  DemoSteps demo;
  const Ids ids = demo.text(1, 40);
  const auto cache = make_state_cache(demo.step, with_disk(folder.path(), 1000));
  cache->insert(first(ids, 30), *demo.state_of(first(ids, 30)), SnapshotKind::prompt_end);
  cache->flush();
  EXPECT_EQ(cache->stats().bytes, 0U);
  expect_continues(demo, *cache, ids, 30, true);
  expect_continues(demo, *cache, ids, 30, true);
}

TEST(StateStore, TheFoldersBytesAreBoundedAndTheLeastRecentlyUsedGo) {
  const TempFolder folder;
  DemoSteps demo;
  const auto text = [&](uint64_t seed) { return demo.text(seed, 20); };
  StateCacheOptions options = with_disk(folder.path(), 1000);
  const size_t one = snapshot_file_bytes(demo.state_of(text(0))->bytes(), 20, demo.step.identity());
  options.state_dir_bytes = 3 * one;
  uint64_t written = 0;
  const auto on_disk = [&] {
    uint64_t bytes = 0;
    for (const auto& file : files_of(folder.path())) bytes += fs::file_size(file);
    return bytes;
  };
  {
    const auto cache = make_state_cache(demo.step, options);
    for (; written < 5; ++written) {
      if (written == 3) expect_continues(demo, *cache, demo.text(1, 25), 20, true);
      cache->insert(text(written), *demo.state_of(text(written)), SnapshotKind::prompt_end);
      cache->flush();
      EXPECT_LE(on_disk(), options.state_dir_bytes);
      EXPECT_EQ(cache->stats().disk_bytes, on_disk());
    }
    EXPECT_EQ(cache->stats().disk_snapshots, 3U);
    EXPECT_EQ(cache->find(demo.text(2, 25), 24).length, 0);
    expect_continues(demo, *cache, demo.text(1, 25), 20, true);
  }
  options.state_dir_bytes = one;
  const auto cache = make_state_cache(demo.step, options);
  EXPECT_EQ(cache->stats().disk_snapshots, 1U);
  expect_continues(demo, *cache, demo.text(1, 25), 20, true);  // its last use was remembered
}

/// A file of the store, damaged by `damage`: the continuation is exact all the same, and there is no crash.
template <typename Damage>
uint64_t damaged_runs(int runs, Damage damage) {
  const TempFolder folder;
  DemoSteps demo;
  const Ids ids = demo.text(1, 40);
  {
    const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
    cache->insert(first(ids, 30), *demo.state_of(first(ids, 30)), SnapshotKind::prompt_end);
    cache->flush();
  }
  const fs::path path = files_of(folder.path()).at(0);
  const std::string good = test::read_text(path);
  const std::vector<float> expected = demo.cold(ids);
  uint64_t rejected = 0;
  for (int run = 0; run < runs; ++run) {
    SCOPED_TRACE(run);
    test::write_text(path, damage(run, good));
    const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
    CacheHit hit = cache->find(ids, 39);
    if (hit.state) {
      EXPECT_EQ(hit.length, 30);
      EXPECT_TRUE(same_bits(demo.read(*hit.state, std::span(ids).subspan(30)), expected));
      EXPECT_EQ(cache->stats().disk_rejected, 0U);
    } else {
      ++rejected;
      EXPECT_EQ(cache->stats().disk_rejected, 1U);
      EXPECT_EQ(cache->stats().disk_snapshots, 0U);
      EXPECT_FALSE(fs::exists(path)) << "a rejected file is removed";
    }
  }
  return rejected;
}

TEST(StateStore, EveryFlippedByteIsFoundOrHarmless) {
  std::mt19937_64 random(1);
  const uint64_t rejected = damaged_runs(400, [&](int run, std::string bytes) {
    // Half of them in the header and the ids.
    const size_t at = random() % (run % 2 == 0 ? 1500 : bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    return bytes;
  });
  EXPECT_GT(rejected, 350U);
}

TEST(StateStore, ATruncatedOrLongerFileIsRejected) {
  std::mt19937_64 random(2);
  EXPECT_EQ(damaged_runs(40,
                         [&](int run, const std::string& bytes) {
                           if (run == 0) return std::string();
                           if (run == 1) return bytes + '\0';
                           return bytes.substr(0, random() % bytes.size());
                         }),
            40U);
}

TEST(StateStore, DamageAfterTheStartIsFoundWhenTheFileIsRead) {
  const TempFolder folder;
  DemoSteps demo;
  const Ids ids = demo.text(1, 40);
  const auto cache = make_state_cache(demo.step, with_disk(folder.path(), 1000));
  cache->insert(first(ids, 20), *demo.state_of(first(ids, 20)), SnapshotKind::prompt_end);
  cache->insert(first(ids, 30), *demo.state_of(first(ids, 30)), SnapshotKind::prompt_end);
  cache->flush();
  for (const fs::path& path : files_of(folder.path())) {
    if (path.filename().string().find("-30.") == std::string::npos) continue;
    std::string bytes = test::read_text(path);
    bytes.back() ^= 1;
    test::write_text(path, bytes);
  }
  expect_continues(demo, *cache, ids, 20, true);  // the shorter one serves
  EXPECT_EQ(cache->stats().disk_rejected, 1U);
  EXPECT_EQ(cache->stats().disk_snapshots, 1U);
  // Gone without damage: another process has removed it.
  for (const fs::path& path : files_of(folder.path())) fs::remove(path);
  EXPECT_EQ(cache->find(ids, 39).length, 0);
  EXPECT_EQ(cache->stats().disk_rejected, 1U);
  EXPECT_EQ(cache->stats().disk_snapshots, 0U);
}

TEST(StateStore, AnotherModelsFilesAreNeitherUsedNorHarmed) {
  const TempFolder folder;
  DemoSteps wide(KvFormat::f32);
  DemoSteps narrow(KvFormat::bf16);
  EXPECT_NE(wide.step.identity(), narrow.step.identity());
  const Ids ids = wide.text(1, 40);
  {
    const auto cache = make_state_cache(wide.step, with_disk(folder.path()));
    cache->insert(first(ids, 30), *wide.state_of(first(ids, 30)), SnapshotKind::prompt_end);
  }
  const fs::path own = files_of(folder.path()).at(0);
  {
    const auto cache = make_state_cache(narrow.step, with_disk(folder.path()));
    EXPECT_EQ(cache->find(ids, 39).length, 0);
    EXPECT_EQ(cache->stats().disk_snapshots, 0U);
    EXPECT_EQ(cache->stats().disk_rejected, 0U);
    cache->insert(first(ids, 20), *narrow.state_of(first(ids, 20)), SnapshotKind::prompt_end);
  }
  const std::vector<fs::path> both = files_of(folder.path());
  ASSERT_EQ(both.size(), 2U);
  // Put in the other's folder by hand, it is recognized.
  const fs::path foreign = (both[0] == own ? both[1] : both[0]).parent_path() / own.filename();
  fs::copy_file(own, foreign);
  const auto cache = make_state_cache(narrow.step, with_disk(folder.path()));
  EXPECT_EQ(cache->stats().disk_rejected, 1U);
  EXPECT_FALSE(fs::exists(foreign));
  expect_continues(narrow, *cache, ids, 20, true);
  const auto first_cache = make_state_cache(wide.step, with_disk(folder.path()));
  expect_continues(wide, *first_cache, ids, 30, true);
}

TEST(StateStore, WeightsThatDifferOnlyInAMatrixAreAnotherModel) {
  BambaConfig config;
  config.vocab_size = 40;
  config.hidden_size = 32;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.attn_layer_indices = {1};
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.mamba_n_heads = 8;
  config.mamba_d_head = 8;
  config.mamba_d_state = 8;
  config.validate();
  RunOptions options;
  options.threads = 1;
  // Random matrices of another seed; everything that is not a matrix has the same values but for the convolutions.
  const auto a = BambaForCausalLM::from_config(config, {.seed = 1}, options);
  const auto again = BambaForCausalLM::from_config(config, {.seed = 1}, options);
  EXPECT_EQ(ModelStep(a).identity(), ModelStep(again).identity());
  const TempFolder folder;
  a.save_pretrained(folder / "a");
  // One row in the middle of one matrix.
  const fs::path weights = folder / "a/model.safetensors";
  std::string bytes = test::read_text(weights);
  const SafetensorsFile file = SafetensorsFile::open(weights);
  const auto entry = file.header().tensors.find("model.layers.0.feed_forward.down_proj.weight");
  ASSERT_NE(entry, file.header().tensors.end());
  bytes[entry->second.begin + entry->second.bytes / 2 + 1] ^= 0x10;
  fs::create_directory(folder / "b");
  fs::copy_file(folder / "a/config.json", folder / "b/config.json");
  test::write_text(folder / "b/model.safetensors", bytes);
  const auto same = BambaForCausalLM::from_pretrained(folder / "a", options);
  const auto other = BambaForCausalLM::from_pretrained(folder / "b", options);
  EXPECT_NE(ModelStep(same).identity(), ModelStep(other).identity());
}

TEST(StateStore, FilesThatAreNotSnapshotsAreLeftAlone) {
  const TempFolder folder;
  DemoSteps demo;
  const Ids ids = demo.text(1, 30);
  {
    const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
    cache->insert(ids, *demo.state_of(ids), SnapshotKind::prompt_end);
  }
  const fs::path file = files_of(folder.path()).at(0);
  test::write_text(file.parent_path() / "notes.txt", "mine");
  test::write_text(file.parent_path() / "state-xyz-3.safetensors", "mine");
  const fs::path leftover = file.string() + ".tmp-12-3";
  test::write_text(leftover, "half of a file");
  {
    const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
    EXPECT_EQ(cache->stats().disk_snapshots, 1U);
    EXPECT_EQ(cache->stats().disk_rejected, 0U);
    EXPECT_FALSE(fs::exists(leftover)) << "what a crash left is removed";
    // While one process is there, another must not take what is half written for a leftover.
    test::write_text(leftover, "half of a file");
    const auto second = make_state_cache(demo.step, with_disk(folder.path()));
    EXPECT_TRUE(fs::exists(leftover));
    EXPECT_EQ(second->stats().disk_snapshots, 1U);
  }
  EXPECT_EQ(test::read_text(file.parent_path() / "notes.txt"), "mine");
  EXPECT_EQ(test::read_text(file.parent_path() / "state-xyz-3.safetensors"), "mine");
}

TEST(StateStore, AFolderThatCannotBeMadeIsAnError) {
  const TempFolder folder;
  DemoSteps demo;
  folder.put("file", "no folder");
  test::expect_error(ErrorCode::io, {"file"}, [&] { make_state_cache(demo.step, with_disk(folder / "file/states")); });
}

TEST(StateStore, AFullDiskWarnsOnceAndServingGoesOn) {
  const TempFolder folder;
  DemoSteps demo;
  const test::Warnings warnings;
  const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
  // No file may grow past a kilobyte; without the signal, writing past it fails as on a full disk.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1024;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const Ids ids = demo.text(seed, 40);
    cache->insert(first(ids, 30), *demo.state_of(first(ids, 30)), SnapshotKind::prompt_end);
    cache->flush();
    expect_continues(demo, *cache, ids, 30, false);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(warnings.all().size(), 1U) << warnings.text();
  EXPECT_TRUE(warnings.mention("disk"));
  EXPECT_EQ(cache->stats().disk_snapshots, 0U);
  EXPECT_EQ(cache->stats().disk_bytes, 0U);
  EXPECT_EQ(cache->stats().snapshots, 3U);
  EXPECT_TRUE(files_of(folder.path()).empty());
}

TEST(StateStore, AFolderThatVanishesIsNoHarm) {
  const TempFolder folder;
  DemoSteps demo;
  const test::Warnings warnings;
  const auto cache = make_state_cache(demo.step, with_disk(folder / "states"));
  fs::remove_all(folder / "states");
  test::write_text(folder / "states", "a file in its place");
  const Ids ids = demo.text(1, 40);
  cache->insert(first(ids, 30), *demo.state_of(first(ids, 30)), SnapshotKind::prompt_end);
  cache->flush();
  EXPECT_EQ(warnings.all().size(), 1U);
  expect_continues(demo, *cache, ids, 30, false);
}

TEST(StateStoreConcurrency, SavingBesideARunningSequenceWritesWhatWasThen) {
  const TempFolder folder;
  DemoSteps demo;
  const Ids ids = demo.text(3, 120);
  {
    const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
    auto state = demo.step.new_state();
    for (size_t at = 0; at < ids.size(); ++at) {
      demo.read(*state, std::span(ids).subspan(at, 1));
      // Evicted or written beside the sequence that goes on at once on the memory that it shared.
      if (at % 3 == 0) cache->insert(first(ids, at + 1), *state, SnapshotKind::prompt_end);
    }
  }
  const auto cache = make_state_cache(demo.step, with_disk(folder.path()));
  EXPECT_EQ(cache->stats().disk_snapshots, 40U);
  for (size_t length = 1; length + 2 < ids.size(); length += 12) {
    expect_continues(demo, *cache, Ids(ids.begin(), ids.begin() + static_cast<int64_t>(length) + 1),
                     static_cast<int64_t>(length), true);
  }
}

TEST(StateStoreConcurrency, TwoThreadsAsTwoProcessesOnOneFolder) {
  const TempFolder folder;
  std::vector<std::thread> threads;
  std::vector<int> wrong(2, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      DemoSteps demo;
      for (int round = 0; round < 4; ++round) {
        StateCacheOptions options = with_disk(folder.path(), 1000);
        options.state_dir_bytes = 4 << 20;
        const auto cache = make_state_cache(demo.step, options);
        for (uint64_t seed = 0; seed < 6; ++seed) {
          const Ids ids = demo.text(seed, 30);
          CacheHit hit = cache->find(ids, 29);
          if (hit.state) {
            wrong[t] += same_bits(demo.read(*hit.state, std::span(ids).subspan(static_cast<size_t>(hit.length))),
                                  demo.cold(ids))
                            ? 0
                            : 1;
          } else {
            cache->insert(first(ids, 20), *demo.state_of(first(ids, 20)), SnapshotKind::prompt_end);
          }
        }
        cache->flush();
        wrong[t] += cache->stats().disk_rejected == 0 ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(2, 0));
}

}  // namespace
}  // namespace bamba
