// What keeping and finding snapshots costs with states of Bamba-9B's size. There are no weights: only the states
// matter.
#include "engine/radix_cache.h"

#include <unistd.h>

#include <filesystem>
#include <numeric>

#include "base/str.h"
#include "engine/snapshot_file.h"
#include "model/host_snapshot.h"
#include "model/sequence_state_impl.h"
#include "shapes.h"

namespace bamba::bench {
namespace {

constexpr int64_t kTokens = 2000;

BambaConfig config_9b() {
  BambaConfig config;
  config.mamba_d_state = kState;
  config.attn_layer_indices = {9, 18, 27};
  config.validate();
  return config;
}

class State final : public StepState {
 public:
  explicit State(SequenceState state) : state_(std::move(state)) {}
  int64_t length() const override { return state_.length(); }
  std::unique_ptr<StepState> fork() const override { return std::make_unique<State>(state_.fork()); }
  void visit_memory(FunctionRef<void(const void* address, size_t bytes)> visit) const override {
    state_.impl().visit_buffers([&](const backend::Buffer& buffer) { visit(buffer.floats(), buffer.bytes()); });
  }
  HostSnapshot to_host() const override { return state_.to_host(); }
  /// What a forward does first: room for the next token, in memory of the state's own.
  void begin_step() { state_.impl().prepare(1); }

 private:
  SequenceState state_;
};

/// States without a model: their numbers are zeros, which cost as much to copy as others.
class States final : public StepModel {
 public:
  States()
      : context_(std::make_shared<StateContext>(backend::make_cpu_backend(1), config_9b(), KvFormat::bf16, 1)),
        ids_(kTokens + 1) {
    std::iota(ids_.begin(), ids_.end(), 0);
  }
  std::unique_ptr<State> full() {
    auto impl = std::make_unique<SequenceState::Impl>(context_);
    impl->prepare(kTokens);
    impl->length = kTokens;
    return std::make_unique<State>(SequenceState(std::move(impl)));
  }
  std::span<const int64_t> ids() const { return std::span(ids_).first(kTokens); }
  std::span<const int64_t> longer() const { return ids_; }

  int64_t vocab_size() const override { return context_->config.vocab_size; }
  std::unique_ptr<StepState> new_state() override {
    return std::make_unique<State>(SequenceState(std::make_unique<SequenceState::Impl>(context_)));
  }
  std::unique_ptr<StepState> from_host(const HostSnapshot& snapshot) override {
    return std::make_unique<State>(restore_snapshot(context_, snapshot));
  }
  std::string state_layout() const override { return bamba::state_layout(*context_); }
  std::string identity() const override { return "bench"; }
  size_t state_bytes(int64_t tokens) const override { return snapshot_bytes(*context_, tokens); }
  std::span<float> forward(std::span<const StepInput> /*inputs*/) override { return {}; }
  std::span<const int64_t> forward_best(std::span<const StepInput> /*inputs*/) override { return {}; }
  bool draws_tokens() const override { return false; }
  std::span<const int64_t> forward_drawn(std::span<const StepInput> /*inputs*/,
                                         std::span<const TokenDraw> /*draws*/) override {
    return {};
  }

 private:
  std::shared_ptr<const StateContext> context_;
  std::vector<int64_t> ids_;
};

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / str("bamba-bench-", ::getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

constexpr size_t kBudget = size_t{4} << 30;

/// Keeping a snapshot, without what the sequence copies when it goes on.
void insert(benchmark::State& state) {
  States states;
  const auto running = states.full();
  for (auto step : state) {
    static_cast<void>(step);
    state.PauseTiming();
    auto cache = make_state_cache(states, {.bytes = kBudget, .state_dir = {}});
    state.ResumeTiming();
    cache->insert(states.ids(), *running, SnapshotKind::prompt_end);
    state.PauseTiming();
    cache.reset();
    state.ResumeTiming();
  }
}

/// Finding one, without that.
void find(benchmark::State& state) {
  States states;
  const auto cache = make_state_cache(states, {.bytes = kBudget, .state_dir = {}});
  cache->insert(states.ids(), *states.full(), SnapshotKind::prompt_end);
  for (auto step : state) {
    static_cast<void>(step);
    benchmark::DoNotOptimize(cache->find(states.longer(), kTokens));
  }
}

/// That: the next step of a sequence whose memory a snapshot shares.
void copy_on_write(benchmark::State& state) {
  States states;
  const auto full = states.full();
  for (auto step : state) {
    static_cast<void>(step);
    auto fork = full->fork();
    static_cast<State&>(*fork).begin_step();
  }
  rate(state, "GB/s", static_cast<double>(states.state_bytes(0)));
}

/// On the writing thread: two readings of the state and a file that is on the disk when it ends.
void write_file(benchmark::State& state) {
  States states;
  const Folder folder;
  const HostSnapshot snapshot = states.full()->to_host();
  for (auto step : state) {
    static_cast<void>(step);
    write_snapshot_file(folder.path() / "file", snapshot, states.ids(), SnapshotKind::prompt_end,
                        {states.identity(), states.state_layout()});
  }
  rate(state, "GB/s", static_cast<double>(snapshot.bytes()));
}

/// A hit on disk, of a file that the page cache holds: checksum and copy.
void find_on_disk(benchmark::State& state) {
  States states;
  const Folder folder;
  // No snapshot fits in memory, so each is read again.
  const auto cache = make_state_cache(states, {.bytes = 1, .state_dir = folder.path(), .state_dir_bytes = kBudget});
  cache->insert(states.ids(), *states.full(), SnapshotKind::prompt_end);
  cache->flush();
  for (auto step : state) {
    static_cast<void>(step);
    if (!cache->find(states.longer(), kTokens).state) state.SkipWithError("no hit");
  }
  rate(state, "GB/s", static_cast<double>(states.state_bytes(kTokens)));
}

/// A start that finds one file: its header and ids are read.
void scan_folder(benchmark::State& state) {
  States states;
  const Folder folder;
  const StateCacheOptions options{.bytes = kBudget, .state_dir = folder.path(), .state_dir_bytes = kBudget};
  {
    const auto cache = make_state_cache(states, options);
    cache->insert(states.ids(), *states.full(), SnapshotKind::prompt_end);
    cache->flush();
  }
  for (auto step : state) {
    static_cast<void>(step);
    benchmark::DoNotOptimize(make_state_cache(states, options));
  }
}

BENCHMARK(insert)->Unit(benchmark::kMicrosecond);
BENCHMARK(find)->Unit(benchmark::kMicrosecond);
BENCHMARK(copy_on_write)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(write_file)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(find_on_disk)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(scan_folder)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace bamba::bench
