#include "generation/selection.h"

#include <limits>

namespace bamba {
namespace {

/// Past this many, selecting in a copy is quicker than keeping a heap.
constexpr size_t kLargestHeap = 512;

}  // namespace

void block_maxima(std::span<const float> scores, std::vector<float>& maxima) {
  const size_t whole = scores.size() / kScoreBlock;
  const bool rest = scores.size() % kScoreBlock != 0;
  maxima.resize(whole + (rest ? 1 : 0));
  for (size_t block = 0; block < whole; ++block) maxima[block] = block_max(&scores[block * kScoreBlock]);
  if (rest) maxima.back() = *std::ranges::max_element(scores.subspan(whole * kScoreBlock));
}

void TopSelector::offer(std::span<const float> scores, float addend, int64_t base) {
  if (limit_ == 0) return;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (heap_.size() == limit_) {
      while (i + kScoreBlock <= scores.size() && !(block_max(&scores[i]) + addend > heap_.front().score))
        i += kScoreBlock;
      if (i == scores.size()) return;
    }
    const Candidate candidate{base + static_cast<int64_t>(i), scores[i] + addend};
    if (candidate.score != candidate.score) continue;
    if (heap_.size() < limit_) {
      heap_.push_back(candidate);
      std::push_heap(heap_.begin(), heap_.end(), better);
    } else if (candidate.score > heap_.front().score) {  // an equal one has the higher id
      std::pop_heap(heap_.begin(), heap_.end(), better);
      heap_.back() = candidate;
      std::push_heap(heap_.begin(), heap_.end(), better);
    }
  }
}

float kth_largest(std::span<const float> scores, size_t k, std::vector<float>& scratch) {
  if (k > kLargestHeap) {
    scratch.assign(scores.begin(), scores.end());
    const auto nth = scratch.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(scratch.begin(), nth, scratch.end(), std::greater<>());
    return *nth;
  }
  scratch.assign(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(k));
  std::make_heap(scratch.begin(), scratch.end(), std::greater<>());  // front: the smallest kept
  for (size_t i = k; i < scores.size(); ++i) {
    while (i + kScoreBlock <= scores.size() && !(block_max(&scores[i]) > scratch.front())) i += kScoreBlock;
    if (i == scores.size()) break;
    if (scores[i] > scratch.front()) {
      std::pop_heap(scratch.begin(), scratch.end(), std::greater<>());
      scratch.back() = scores[i];
      std::push_heap(scratch.begin(), scratch.end(), std::greater<>());
    }
  }
  return scratch.front();
}

}  // namespace bamba
