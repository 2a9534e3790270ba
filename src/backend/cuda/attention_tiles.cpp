#include <algorithm>

#include "backend/cuda/attention.h"

namespace bamba::backend::cuda {

std::vector<AttentionTile> attention_tiles(std::span<const SequenceRows> sequences, const AttentionShape& shape,
                                           int64_t tile_rows) {
  const int64_t group = shape.n_heads / shape.n_kv_heads;
  std::vector<AttentionTile> tiles;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (int64_t row = 0; row < sequences[s].count * group; row += tile_rows) {
      tiles.push_back({static_cast<int32_t>(s), static_cast<int32_t>(row)});
    }
  }
  const auto position = [&](const AttentionTile& tile) {
    return sequences[static_cast<size_t>(tile.sequence)].start + tile.first_row / group;
  };
  std::ranges::stable_sort(tiles, [&](const auto& a, const auto& b) { return position(a) > position(b); });
  return tiles;
}

}  // namespace bamba::backend::cuda
