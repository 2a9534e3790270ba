// The innards of a SequenceState.
#pragma once

#include <bamba/sequence_state.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "io/safetensors.h"
#include "model/state_context.h"

namespace bamba {

struct SequenceState::Impl {
  struct MambaLayer {
    backend::Buffer window;  ///< [d_conv, conv_dim], the newest inputs last
    backend::Buffer ssm;     ///< [n_heads, d_state, d_head]
  };
  struct AttentionLayer {
    std::vector<backend::Buffer> pages;
    std::vector<float*> page_pointers;  ///< pages[i].floats()
  };

  explicit Impl(std::shared_ptr<const StateContext> context_);
  /// The same without its buffers: for who has them already.
  struct Unfilled {};
  Impl(std::shared_ptr<const StateContext> context_, Unfilled /*unused*/);

  /// Makes room for `tokens` more and makes everything that they will write this state's own. When it throws
  /// Error(out_of_memory) the state still holds the same sequence.
  void prepare(int64_t tokens);

  /// Every buffer that the state refers to, in the order of its layers.
  void visit_buffers(FunctionRef<void(const backend::Buffer&)> visit) const;

  const MambaLayer& mamba_layer(int64_t layer) const;
  const AttentionLayer& attention_layer(int64_t layer) const;

  std::shared_ptr<const StateContext> context;
  std::vector<MambaLayer> mamba;          ///< by StateContext::index_in_kind
  std::vector<AttentionLayer> attention;  ///< by StateContext::index_in_kind
  int64_t length = 0;
};

/// SequenceState::save() with tensors and metadata of the caller's beside the state's own; loading leaves them aside.
void save_sequence_state(const SequenceState& state, const std::filesystem::path& path, const NamedTensors& more,
                         const std::map<std::string, std::string>& more_metadata);

/// f32 [num_key_value_heads, length, head_dim] each: both come from the pages in one walk.
std::pair<Tensor, Tensor> keys_and_values(const SequenceState::Impl& state, int64_t layer);

/// Restores SequenceState::save()'s file. Throws Error(invalid_file) when it is damaged or of another model.
SequenceState load_sequence_state(const std::shared_ptr<const StateContext>& context,
                                  const std::filesystem::path& path);

}  // namespace bamba
