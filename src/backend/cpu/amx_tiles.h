// What the kernels for AMX share: the description of the tiles. Intel's manual, volume 2: LDTILECFG.
#pragma once

#include <cstdint>

namespace bamba::backend::cpu {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int first, int end, int64_t tile_rows, int64_t bytes) {
    for (int i = first; i < end; ++i) {
      row_bytes[i] = static_cast<uint16_t>(bytes);
      rows[i] = static_cast<uint8_t>(tile_rows);
    }
  }
  /// In assembly: to GCC 12 the intrinsic reads the first 8 bytes only, and the rest may never be stored.
  void load() const {
#if defined(__x86_64__)
    asm volatile("ldtilecfg %0" : : "m"(*this));
#endif
  }
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace bamba::backend::cpu
