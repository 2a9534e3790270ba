#include "engine/cut_points.h"

#include <algorithm>

namespace bamba {
namespace {

/// The points asked for that are in range: rising, each once.
std::vector<int64_t> in_range(const CutRequest& request) {
  std::vector<int64_t> points;
  for (const int64_t point : request.asked) {
    if (point > request.held && point < request.prompt_length) points.push_back(point);
  }
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  return points;
}

}  // namespace

std::vector<CutPoint> cut_points(const CutRequest& request) {
  const int64_t end = request.prompt_length - 1;
  std::vector<CutPoint> wanted;
  const auto add = [&](int64_t length, SnapshotKind kind) {
    if (length > request.held && length <= end) wanted.push_back({length, kind});
  };
  add(std::min(request.shared, end), SnapshotKind::junction);
  const std::vector<int64_t> asked = in_range(request);
  if (!asked.empty()) {
    add(asked.front(), SnapshotKind::junction);
    if (asked.size() > 1) add(asked.back(), SnapshotKind::junction);
  }
  // Those above are kept as they are but for near ones; the rest fills the gaps.
  std::sort(wanted.begin(), wanted.end(), [](const CutPoint& a, const CutPoint& b) { return a.length < b.length; });
  std::vector<CutPoint> kept;
  for (const CutPoint& point : wanted) {
    const int64_t before = kept.empty() ? request.held : kept.back().length;
    if (point.length - before >= kNearSnapshot) kept.push_back(point);
  }
  const auto fill = [&](int64_t length, SnapshotKind kind, int64_t spacing) {
    const auto after = std::upper_bound(kept.begin(), kept.end(), length,
                                        [](int64_t value, const CutPoint& point) { return value < point.length; });
    const int64_t before = after == kept.begin() ? request.held : std::prev(after)->length;
    if (length - before < spacing || (after != kept.end() && after->length - length < spacing)) return;
    kept.insert(after, {length, kind});
  };
  const int64_t spacing = std::max(request.spacing, kNearSnapshot);
  for (const int64_t point : asked) fill(point, SnapshotKind::junction, spacing);
  if (request.stride > 0) {
    for (int64_t at = (request.held / request.stride + 1) * request.stride; at < end; at += request.stride) {
      fill(at, SnapshotKind::stride, spacing);
    }
  }
  const int64_t last = kept.empty() ? request.held : kept.back().length;
  if (end - last >= kNearSnapshot) kept.push_back({end, SnapshotKind::prompt_end});
  return kept;
}

}  // namespace bamba
