// Picking the largest few of many scores without sorting them all.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace bamba {

/// One token that may still be chosen.
struct Candidate {
  int64_t id;
  float score;
};

/// Higher scores first; the lower id first among equals.
constexpr bool better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

/// Keeps the `limit` best of the candidates offered so far. Ids must be offered in increasing order.
class TopSelector {
 public:
  void start(size_t limit) {
    limit_ = limit;
    heap_.clear();
  }
  /// Offers base + i for each scores[i] + addend (rounded to float, as the sums of beam search are). NaN never enters.
  void offer(std::span<const float> scores, float addend, int64_t base);
  /// Best first. The selector must be started again afterwards.
  std::span<const Candidate> take() {
    std::sort_heap(heap_.begin(), heap_.end(), better);
    return heap_;
  }

 private:
  size_t limit_ = 0;
  std::vector<Candidate> heap_;  // a heap whose front is the worst kept
};

/// Scores are looked at so many at a time where nearly all of them are thrown out.
constexpr size_t kScoreBlock = 32;
/// The largest score of a whole block; none may be NaN.
inline float block_max(const float* scores) {
  float lanes[8];  // which the compiler keeps in vector registers
  for (size_t i = 0; i < 8; ++i) lanes[i] = scores[i];
  for (size_t i = 8; i < kScoreBlock; i += 8) {
    for (size_t j = 0; j < 8; ++j) lanes[j] = lanes[j] > scores[i + j] ? lanes[j] : scores[i + j];
  }
  float best = lanes[0];
  for (size_t i = 1; i < 8; ++i) best = best > lanes[i] ? best : lanes[i];
  return best;
}
/// That of each block, in order; the last block may be shorter.
void block_maxima(std::span<const float> scores, std::vector<float>& maxima);

/// The k-th largest score (k >= 1, k <= scores.size()), duplicates counted. `scratch` is overwritten.
float kth_largest(std::span<const float> scores, size_t k, std::vector<float>& scratch);

/// Walks items in the order of `before`, sorting no more of them than the walk reaches: visit(item) returns false to
/// stop. The items are rearranged.
template <typename Item, typename Before, typename Visit>
void visit_in_order(std::span<Item> items, const Before& before, const Visit& visit) {
  size_t sorted = 0;
  for (size_t chunk = 64; sorted < items.size(); chunk *= 4) {
    const size_t end = std::min(items.size(), sorted + chunk);
    const auto from = items.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto to = items.begin() + static_cast<std::ptrdiff_t>(end);
    if (to != items.end()) std::nth_element(from, to, items.end(), before);
    std::sort(from, to, before);
    for (; sorted < end; ++sorted) {
      if (!visit(items[sorted])) return;
    }
  }
}

}  // namespace bamba
