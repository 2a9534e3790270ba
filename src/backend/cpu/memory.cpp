#include "backend/cpu/memory.h"

#include <bamba/error.h>
#include <sys/mman.h>

#include <cstdlib>
#include <limits>

#include "base/str.h"

namespace bamba::backend::cpu {

void* allocate_memory(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  // Smaller blocks would waste too much of their last huge page.
  const bool huge = bytes >= 4 * kHugePage;
  const size_t alignment = huge ? kHugePage : 64;
  void* memory = nullptr;
  if (bytes < std::numeric_limits<size_t>::max() - alignment) {
    memory = std::aligned_alloc(alignment, (bytes / alignment + 1) * alignment);
  }
  if (memory == nullptr) fail(ErrorCode::out_of_memory, "cannot allocate ", bytes, " bytes");
#ifdef MADV_HUGEPAGE
  // Advice: where it is refused, the block works all the same.
  if (huge) static_cast<void>(madvise(memory, bytes, MADV_HUGEPAGE));
#endif
  return memory;
}

void FreeMemory::operator()(void* memory) const {
  std::free(memory);
}

}  // namespace bamba::backend::cpu
