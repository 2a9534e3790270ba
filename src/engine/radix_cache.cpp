#include "engine/radix_cache.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/str.h"
#include "engine/radix_tree.h"
#include "engine/state_store.h"
#include "generation/memory_ledger.h"

namespace bamba {
namespace {

class RadixCache final : public StateCache {
 public:
  RadixCache(StepModel& model, const StateCacheOptions& options);

  CacheHit find(std::span<const int64_t> ids, int64_t max_length) override;
  int64_t shared_length(std::span<const int64_t> ids) const override { return tree_.shared_length(ids); }
  void insert(std::span<const int64_t> ids, const StepState& state, SnapshotKind kind) override;
  void flush() override;
  StateCacheStats stats() const override;

 private:
  using Id = uint64_t;
  enum class OnDisk { no, waiting, yes };
  /// What a value of the tree stands for: a state in memory, a file, or both.
  struct Entry {
    RadixTree::Node* node = nullptr;
    std::unique_ptr<StepState> state;
    SnapshotKind kind = SnapshotKind::stride;
    OnDisk on_disk = OnDisk::no;
    uint64_t used = 0;        ///< clock_
    bool superseded = false;  ///< a stride snapshot, never used, that a longer one has followed
  };
  /// The smallest goes first.
  using Rank = std::tuple<bool, uint64_t, SnapshotKind, int64_t, Id>;

  static Rank rank(Id id, const Entry& entry) {
    return {!entry.superseded, entry.used, entry.kind, -entry.node->end, id};
  }
  static Id id_of(const Rank& rank) { return std::get<4>(rank); }
  static std::vector<int64_t> ids_of(const RadixTree::Node& node);

  Id entry_at(std::span<const int64_t> ids);
  template <typename Change>
  void change(Id id, Change change);
  void keep(Id id, std::unique_ptr<StepState> state);
  void use(Id id);
  void make_room(size_t bytes, Id spared);
  void evict(Id id);
  void drop(Id id);
  void drop_if_nowhere(Id id);
  std::unique_ptr<StepState> load(Id id, std::span<const int64_t> ids);

  bool write(Id id, const StepState& state);
  void write_pending();
  void follow_disk();
  void bound_tree();

  StepModel& model_;
  const StateCacheOptions options_;
  RadixTree tree_;
  std::unordered_map<Id, Entry> entries_;
  std::unordered_map<std::string, Id> by_name_;  ///< of those whose file is there or waits
  std::set<Rank> order_;                         ///< of those in memory
  MemoryLedger ledger_;
  std::deque<Id> pending_;  ///< to be written when there is room
  Id last_id_ = 0;
  uint64_t clock_ = 0;  ///< calls of find()
  uint64_t evictions_ = 0;
  std::optional<StateStore> store_;
};

RadixCache::RadixCache(StepModel& model, const StateCacheOptions& options) : model_(model), options_(options) {
  if (options_.state_dir.empty()) return;
  store_.emplace(StateStoreOptions{options_.state_dir, options_.state_dir_bytes, options_.write_bytes},
                 SnapshotOwner{model_.identity(), model_.state_layout()});
  for (const StateStore::Found& found : store_->take_found()) {
    const Id id = entry_at(found.info.ids);
    entries_.at(id).kind = found.info.kind;
    entries_.at(id).on_disk = OnDisk::yes;
    by_name_[found.name] = id;
  }
  bound_tree();
}

std::vector<int64_t> RadixCache::ids_of(const RadixTree::Node& node) {
  std::vector<int64_t> ids(static_cast<size_t>(node.end));
  auto end = ids.end();
  for (const RadixTree::Node* at = &node; at != nullptr; at = at->parent) {
    end = std::copy_backward(at->edge.begin(), at->edge.end(), end);
  }
  return ids;
}

RadixCache::Id RadixCache::entry_at(std::span<const int64_t> ids) {
  RadixTree::Node& node = tree_.insert(ids);
  if (node.value == 0) {
    node.value = ++last_id_;
    Entry& entry = entries_[node.value];
    entry.node = &node;
    entry.used = clock_;
  }
  return node.value;
}

/// Changes what rank() depends on.
template <typename Change>
void RadixCache::change(Id id, Change change) {
  Entry& entry = entries_.at(id);
  const bool ranked = order_.erase(rank(id, entry)) > 0;
  change(entry);
  if (ranked) order_.insert(rank(id, entry));
}

void RadixCache::use(Id id) {
  change(id, [this](Entry& entry) {
    entry.used = clock_;
    entry.superseded = false;
    if (entry.kind == SnapshotKind::stride) entry.kind = SnapshotKind::junction;
  });
}

void RadixCache::keep(Id id, std::unique_ptr<StepState> state) {
  Entry& entry = entries_.at(id);
  ledger_.add(*state);
  entry.state = std::move(state);
  order_.insert(rank(id, entry));
  for (const RadixTree::Node* above = entry.node->parent; above != nullptr; above = above->parent) {
    if (above->value == 0) continue;
    change(above->value, [](Entry& shorter) { shorter.superseded = shorter.kind == SnapshotKind::stride; });
  }
  make_room(0, id);
}

/// Evicts until `bytes` more fit.
void RadixCache::make_room(size_t bytes, Id spared) {
  while (ledger_.bytes() + bytes > options_.bytes) {
    auto victim = order_.begin();
    if (victim != order_.end() && id_of(*victim) == spared) ++victim;
    if (victim == order_.end()) return;
    evict(id_of(*victim));
  }
}

void RadixCache::evict(Id id) {
  Entry& entry = entries_.at(id);
  if (entry.on_disk == OnDisk::no && !entry.superseded) write(id, *entry.state);
  order_.erase(rank(id, entry));
  ledger_.remove(*entry.state);
  entry.state.reset();
  ++evictions_;
  drop_if_nowhere(id);
}

/// Takes an entry out of memory and off the disk.
void RadixCache::drop(Id id) {
  Entry& entry = entries_.at(id);
  if (entry.state) {
    order_.erase(rank(id, entry));
    ledger_.remove(*entry.state);
    entry.state.reset();
    ++evictions_;
  }
  if (entry.on_disk != OnDisk::no) {
    const std::string name = snapshot_file_name(ids_of(*entry.node));
    by_name_.erase(name);
    store_->remove(name);  // one that waits is removed when it is there
    entry.on_disk = OnDisk::no;
  }
  drop_if_nowhere(id);
}

void RadixCache::drop_if_nowhere(Id id) {
  Entry& entry = entries_.at(id);
  if (entry.state || entry.on_disk != OnDisk::no) return;
  tree_.clear(*entry.node);
  entries_.erase(id);
}

CacheHit RadixCache::find(std::span<const int64_t> ids, int64_t max_length) {
  ++clock_;
  follow_disk();
  CacheHit hit;
  // Nodes may go while files turn out to be gone; entries are looked up again each time.
  std::vector<Id> candidates;
  for (const RadixTree::Node* node : tree_.path(ids, max_length)) candidates.push_back(node->value);
  for (auto id = candidates.rbegin(); id != candidates.rend() && !hit.state; ++id) {
    const auto found = entries_.find(*id);
    if (found == entries_.end()) continue;
    const int64_t length = found->second.node->end;
    if (found->second.state) {
      hit = {found->second.state->fork(), length, false};
      use(*id);
    } else if (found->second.on_disk == OnDisk::yes) {
      hit = {load(*id, ids.first(static_cast<size_t>(length))), length, true};
    }
  }
  if (!hit.state) hit = {};
  write_pending();
  return hit;
}

/// The caller's state from a file, which then is in memory, too. Null when there is none or no memory.
std::unique_ptr<StepState> RadixCache::load(Id id, std::span<const int64_t> ids) {
  const std::string name = snapshot_file_name(ids);
  const std::optional<HostSnapshot> snapshot = store_->load(name, ids);
  std::unique_ptr<StepState> state;
  if (snapshot) {
    // An upper bound: the files' states share nothing yet.
    if (snapshot->bytes() <= options_.bytes) make_room(snapshot->bytes(), id);
    try {
      state = model_.from_host(*snapshot);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::out_of_memory) return nullptr;
      store_->reject(name);
    }
  }
  if (state) {
    use(id);
    if (state->bytes() <= options_.bytes) keep(id, state->fork());
  } else {
    follow_disk();
  }
  return state;
}

void RadixCache::insert(std::span<const int64_t> ids, const StepState& state, SnapshotKind kind) {
  if (state.length() != static_cast<int64_t>(ids.size())) {
    fail(ErrorCode::internal, "a snapshot of ", state.length(), " tokens for a text of ", ids.size());
  }
  if (ids.empty()) return;
  follow_disk();
  const bool fits = state.bytes() <= options_.bytes;
  if (!fits && !store_) {
    tree_.note(ids);
  } else {
    const Id id = entry_at(ids);
    change(id, [&](Entry& entry) {
      entry.used = clock_;
      entry.kind = std::max(entry.kind, kind);
      if (entry.kind != SnapshotKind::stride) entry.superseded = false;
    });
    Entry& entry = entries_.at(id);
    if (fits && !entry.state) keep(id, state.fork());
    if (store_ && entry.on_disk == OnDisk::no) {
      if (!fits) {
        write(id, state);
      } else if (entry.kind != SnapshotKind::stride) {
        pending_.push_back(id);
      }
    }
    drop_if_nowhere(id);
  }
  write_pending();
  bound_tree();
}

/// Gives a snapshot to the writing thread; false when it would have to wait.
bool RadixCache::write(Id id, const StepState& state) {
  Entry& entry = entries_.at(id);
  if (!store_ || entry.on_disk != OnDisk::no) return true;
  const auto tokens = static_cast<size_t>(entry.node->end);
  const StateStore::Room room = store_->room(state.bytes(), tokens);
  if (room != StateStore::Room::yes) return room == StateStore::Room::never;
  std::vector<int64_t> ids = ids_of(*entry.node);
  const std::string name = snapshot_file_name(ids);
  if (by_name_.contains(name)) return true;  // two texts of one name: the second does without
  try {
    HostSnapshot snapshot = state.to_host();
    entry.on_disk = OnDisk::waiting;
    by_name_[name] = id;
    store_->write(std::move(snapshot), std::move(ids), entry.kind);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
    return false;
  }
  return true;
}

void RadixCache::write_pending() {
  while (!pending_.empty()) {
    const auto found = entries_.find(pending_.front());
    if (found != entries_.end() && found->second.state && !write(found->first, *found->second.state)) return;
    pending_.pop_front();
  }
}

/// Takes up what came to the disk or went from it.
void RadixCache::follow_disk() {
  if (!store_) return;
  for (const StateStore::Change& change : store_->take_changes()) {
    const auto found = by_name_.find(change.name);
    if (found == by_name_.end()) {
      // Its entry was dropped while it was being written.
      if (change.present) store_->remove(change.name);
      continue;
    }
    const Id id = found->second;
    entries_.at(id).on_disk = change.present ? OnDisk::yes : OnDisk::no;
    if (change.present) continue;
    by_name_.erase(found);
    drop_if_nowhere(id);
  }
}

void RadixCache::flush() {
  if (!store_) return;
  // The most recently used last: it is the last to be removed when files run over.
  const std::set<Rank> all = order_;
  for (const Rank& item : all) {
    const Id id = id_of(item);
    for (bool waited = false;; waited = true) {
      const auto found = entries_.find(id);
      if (found == entries_.end() || !found->second.state || write(id, *found->second.state) || waited) break;
      store_->wait();
      follow_disk();
    }
  }
  pending_.clear();
  store_->wait();
  follow_disk();
}

/// Forgets texts without a snapshot, and snapshots when these alone are too many ids.
void RadixCache::bound_tree() {
  if (tree_.bytes() <= options_.tree_bytes) return;
  const size_t target = options_.tree_bytes / 8 * 7;
  tree_.forget(target);
  while (tree_.bytes() > options_.tree_bytes && !entries_.empty()) {
    std::vector<std::pair<uint64_t, Id>> oldest;
    for (const auto& [id, entry] : entries_) oldest.emplace_back(entry.used, id);
    std::sort(oldest.begin(), oldest.end());
    oldest.resize(oldest.size() / 8 + 1);
    for (const auto& [used, id] : oldest) drop(id);
    tree_.forget(target);
  }
}

StateCacheStats RadixCache::stats() const {
  StateCacheStats out;
  out.bytes = ledger_.bytes();
  out.snapshots = order_.size();
  out.evictions = evictions_;
  if (store_) {
    out.disk_bytes = store_->bytes();
    out.disk_snapshots = store_->count();
    out.disk_rejected = store_->rejected();
  }
  return out;
}

}  // namespace

std::unique_ptr<StateCache> make_state_cache(StepModel& model, const StateCacheOptions& options) {
  return std::make_unique<RadixCache>(model, options);
}

}  // namespace bamba
