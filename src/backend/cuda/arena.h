// The GPU memory of a backend: taken from the device once, handed out in pieces.
//
// All pieces are used on one stream, in order, so one that is given back may be handed out again at once: what the
// device still does with it comes before what it is told next.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace bamba::backend::cuda {

class Arena {
 public:
  /// Takes `bytes` of the current device, or nine tenths of what is free where bytes is 0. Throws
  /// Error(out_of_memory) that says how much is free.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Aligned to 256; from the smallest gap that is large enough. Throws Error(out_of_memory) that says how much is
  /// left. Any thread may call.
  void* take(size_t bytes);
  void give_back(void* memory) noexcept;
  /// Any thread may call.
  size_t free_bytes();

 private:
  void* base_ = nullptr;
  size_t bytes_ = 0;
  std::mutex mutex_;
  size_t used_ = 0;
  std::map<size_t, size_t> gaps_;   // offset, bytes
  std::map<size_t, size_t> taken_;  // offset, bytes
};

/// A piece that goes back to its arena by itself and keeps the arena alive.
std::shared_ptr<void> take_shared(const std::shared_ptr<Arena>& arena, size_t bytes);

}  // namespace bamba::backend::cuda
