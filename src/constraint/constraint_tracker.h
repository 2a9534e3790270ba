// Where sequences stand in a constraint, for callers that only ever show all tokens so far.
#pragma once

#include <bamba/constraint.h>

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

namespace bamba {

/// Remembers the states of the sequences seen last, by their tokens: a sequence that goes on by one token costs one
/// step, beams that share a beginning find it, and what has been forgotten is run again from the start. Not for
/// several threads at once.
class ConstraintTracker {
 public:
  explicit ConstraintTracker(Constraint constraint) : constraint_(std::move(constraint)) {}

  const Constraint& constraint() const { return constraint_; }
  /// Forbids the tokens that may not follow `generated` (the prompt not included). Tokens that break the constraint
  /// themselves are left alone: beam search fills up with beams that are out, and their score says so already.

  void apply(std::span<const int64_t> generated, std::span<float> scores);

 private:
  struct Entry {
    uint64_t hash;
    std::vector<int64_t> ids;
    ConstraintState state;
  };
  using Entries = std::list<Entry>;

  Entry* find(std::span<const int64_t> ids);
  Entry& remember(std::span<const int64_t> ids, ConstraintState state);

  Constraint constraint_;
  Entries entries_;  // last used first
  std::unordered_multimap<uint64_t, Entries::iterator> by_hash_;
  size_t kept_ids_ = 0;
};

}  // namespace bamba
