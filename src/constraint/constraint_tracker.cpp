#include "constraint/constraint_tracker.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/fnv.h"
#include "base/str.h"

namespace bamba {
namespace {

/// Token ids held by the remembered sequences, all together: 4,096 beams of 1,000 tokens.
constexpr size_t kMaxKeptIds = size_t{4} << 20;

uint64_t hash_of(std::span<const int64_t> ids) {
  Fnv1a hash;
  hash.add(ids.data(), ids.size_bytes());
  return hash.value();
}

}  // namespace

ConstraintTracker::Entry* ConstraintTracker::find(std::span<const int64_t> ids) {
  const auto [first, last] = by_hash_.equal_range(hash_of(ids));
  for (auto it = first; it != last; ++it) {
    if (!std::ranges::equal(it->second->ids, ids)) continue;
    entries_.splice(entries_.begin(), entries_, it->second);
    return &*it->second;
  }
  return nullptr;
}

ConstraintTracker::Entry& ConstraintTracker::remember(std::span<const int64_t> ids, ConstraintState state) {
  while (!entries_.empty() && kept_ids_ + ids.size() > kMaxKeptIds) {
    const auto oldest = std::prev(entries_.end());
    const auto [first, last] = by_hash_.equal_range(oldest->hash);
    for (auto it = first; it != last; ++it) {
      if (it->second != oldest) continue;
      by_hash_.erase(it);
      break;
    }
    kept_ids_ -= oldest->ids.size();
    entries_.pop_back();
  }
  entries_.push_front({hash_of(ids), {ids.begin(), ids.end()}, std::move(state)});
  by_hash_.emplace(entries_.front().hash, entries_.begin());
  kept_ids_ += ids.size();
  return entries_.front();
}

void ConstraintTracker::apply(std::span<const int64_t> generated, std::span<float> scores) {
  Entry* entry = find(generated);
  if (entry == nullptr) {
    ConstraintState state(constraint_);
    size_t done = 0;
    if (!generated.empty()) {
      if (const Entry* before = find(generated.first(generated.size() - 1))) {
        state = before->state;
        done = generated.size() - 1;
      }
    }
    for (; done < generated.size(); ++done) {
      if (!state.accept(generated[done])) return;
    }
    entry = &remember(generated, std::move(state));
  }
  entry->state.mask()->apply(scores);
}

std::function<void(std::span<const int64_t>, std::span<float>)> make_constraint_processor(const Constraint& constraint,
                                                                                          size_t prompt_length) {
  struct Shared {
    explicit Shared(const Constraint& what) : tracker(what) {}
    std::mutex lock;
    ConstraintTracker tracker;
  };
  if (constraint.vocabulary().eos_token_ids().empty()) {
    fail(ErrorCode::invalid_argument, "a constraint on generated text needs an end-of-text token, and there is none");
  }
  return [shared = std::make_shared<Shared>(constraint), prompt_length](std::span<const int64_t> ids,
                                                                        std::span<float> scores) {
    if (ids.size() < prompt_length) {
      fail(ErrorCode::invalid_argument, "a sequence of ", ids.size(), " tokens is shorter than the prompt of ",
           prompt_length, " that its constraint was made for");
    }
    const std::lock_guard<std::mutex> guard(shared->lock);
    shared->tracker.apply(ids.subspan(prompt_length), scores);
  };
}

}  // namespace bamba
