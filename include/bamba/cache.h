// The Transformers-shaped cache: a batch of sequence states.
#pragma once

#include <bamba/sequence_state.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace bamba {

/// What BambaForCausalLM.forward takes and returns as past_key_values. Row b holds the real (unpadded) tokens of batch
/// row b only, so rows may differ in length.
class HybridMambaAttentionDynamicCache {
 public:
  HybridMambaAttentionDynamicCache() = default;
  /// An empty cache of `batch` rows for this model. Throws Error(invalid_argument) for a negative `batch`.
  HybridMambaAttentionDynamicCache(const BambaModel& model, int64_t batch);
  /// Takes over states of one model; their tokens count as unpadded columns.
  explicit HybridMambaAttentionDynamicCache(std::vector<SequenceState> states);

  int64_t batch_size() const { return static_cast<int64_t>(rows_.size()); }
  /// Throws Error(invalid_argument) for a row out of range.
  SequenceState& row(int64_t row);
  const SequenceState& row(int64_t row) const;

  /// Columns fed so far, padding included: what the next attention_mask's past part must cover.
  int64_t get_seq_length() const { return padded_length_; }
  void set_seq_length(int64_t columns) { padded_length_ = columns; }

  /// Rows become copies (forks) of the rows named, as beam search needs: row i continues rows[i]. The number of rows
  /// may change. Throws Error(invalid_argument) on an index out of range.
  void reorder_cache(std::span<const int64_t> rows);
  /// A second cache that continues from the same point; see SequenceState::fork().
  HybridMambaAttentionDynamicCache fork() const;
  /// Bytes of memory that the rows refer to; memory that rows share counts in each of them.
  size_t bytes() const;

  // Copies in Transformers' shapes. Keys and values of shorter rows are padded with zeros on the left up to the
  // longest row. Throw Error(invalid_argument) for a cache without rows and for a layer of the other kind.
  Tensor conv_states(int64_t layer) const;  ///< f32 [batch, conv_dim, d_conv]
  Tensor ssm_states(int64_t layer) const;   ///< f32 [batch, n_heads, d_head, d_state]
  Tensor key_cache(int64_t layer) const;    ///< f32 [batch, num_key_value_heads, longest, head_dim]
  Tensor value_cache(int64_t layer) const;  ///< f32 [batch, num_key_value_heads, longest, head_dim]

 private:
  std::vector<SequenceState> rows_;
  int64_t padded_length_ = 0;
};

}  // namespace bamba
