#include "backend/cuda/arena.h"

#include <algorithm>
#include <iterator>

#include "backend/cuda/check.h"
#include "base/str.h"

namespace bamba::backend::cuda {
namespace {

constexpr size_t kAlignment = 256;

size_t rounded(size_t bytes) {
  return std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}

double gigabytes(size_t bytes) {
  const size_t hundredths = bytes / 10'000'000;  // rounded down
  return static_cast<double>(hundredths) / 100;
}

}  // namespace

Arena::Arena(size_t bytes) {
  size_t free = 0;
  size_t total = 0;
  BAMBA_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  bytes_ = (bytes > 0 ? bytes : free / 10 * 9) / kAlignment * kAlignment;
  if (bytes_ > free || cudaMalloc(&base_, bytes_) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    fail(ErrorCode::out_of_memory, "the GPU has ", gigabytes(free), " of ", gigabytes(total), " GB free, and ",
         gigabytes(bytes_), " GB were asked for");
  }
  gaps_[0] = bytes_;
}

Arena::~Arena() {
  cudaFree(base_);
}

void* Arena::take(size_t bytes) {
  const size_t wanted = rounded(bytes);
  const std::lock_guard lock(mutex_);
  auto best = gaps_.end();
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
    if (gap->second >= wanted && (best == gaps_.end() || gap->second < best->second)) best = gap;
  }
  if (best == gaps_.end()) {
    size_t largest = 0;
    for (const auto& [offset, size] : gaps_) largest = std::max(largest, size);
    fail(ErrorCode::out_of_memory, "no room for ", bytes, " bytes in the ", gigabytes(bytes_),
         " GB of GPU memory that this backend took: ", gigabytes(used_), " GB are in use, ", bytes_ - used_,
         " bytes are free, ", largest, " of them in one piece; --gpu-memory sets how much is taken");
  }
  const auto [offset, size] = *best;
  gaps_.erase(best);
  if (size > wanted) gaps_[offset + wanted] = size - wanted;
  taken_[offset] = wanted;
  used_ += wanted;
  peak_ = std::max(peak_, used_);
  return static_cast<std::byte*>(base_) + offset;
}

void Arena::give_back(void* memory) noexcept {
  const std::lock_guard lock(mutex_);
  const auto piece = taken_.find(static_cast<size_t>(static_cast<std::byte*>(memory) - static_cast<std::byte*>(base_)));
  if (piece == taken_.end()) return;
  auto [offset, size] = *piece;
  taken_.erase(piece);
  used_ -= size;
  // Joins the gaps on either side.
  auto next = gaps_.lower_bound(offset);
  if (next != gaps_.end() && offset + size == next->first) {
    size += next->second;
    next = gaps_.erase(next);
  }
  if (next != gaps_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += size;
      return;
    }
  }
  gaps_[offset] = size;
}

DeviceMemory Arena::memory() const {
  const std::lock_guard lock(mutex_);
  return {bytes_, used_, peak_};
}

std::shared_ptr<void> take_shared(const std::shared_ptr<Arena>& arena, size_t bytes) {
  return {arena->take(bytes), [arena](void* memory) { arena->give_back(memory); }};
}

}  // namespace bamba::backend::cuda
