// Where a prompt is cut so that a snapshot of its state can be kept.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/state_cache.h"

namespace bamba {

struct CutPoint {
  int64_t length = 0;  ///< tokens of the prompt that the snapshot holds
  SnapshotKind kind = SnapshotKind::stride;
  bool operator==(const CutPoint&) const = default;
};

/// Snapshots closer to one that is there already save too little to be worth their memory.
constexpr int64_t kNearSnapshot = 16;

struct CutRequest {
  int64_t prompt_length = 0;
  int64_t held = 0;                     ///< tokens that the state it starts from holds already
  int64_t shared = 0;                   ///< StateCache::shared_length
  std::span<const int64_t> asked = {};  ///< EngineRequest::cache_points
  int64_t stride = 0;                   ///< 0: none
  int64_t spacing = 0;                  ///< of the points asked for, but for the first and the last
};

/// Rising, each in (held, prompt_length - 1]: a prompt that starts from a snapshot has at least one token to run.
///  * Where the prompt leaves a text that was here before (a junction), and the first and the last of the points asked
///    for, unless there is a snapshot less than kNearSnapshot tokens before.
///  * The other points asked for, and multiples of the stride, where they are `spacing` from their neighbours: every
///    cut costs a step.
///  * The last token but one, so that the same prompt is read only once; a snapshot up to kNearSnapshot before does
///    as well.
std::vector<CutPoint> cut_points(const CutRequest& request);

}  // namespace bamba
