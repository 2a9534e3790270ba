// One pass of the decoder over packed rows: the only forward there is.
#pragma once

#include <bamba/model.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "model/rope.h"
#include "model/sequence_state_impl.h"
#include "model/weights.h"

namespace bamba {

/// Rows of one sequence inside a pass.
struct PassSequence {
  SequenceState::Impl* state = nullptr;  ///< prepared for `rows.count` more tokens
  backend::SequenceRows rows;
  size_t index = 0;         ///< in the caller's batch
  int64_t first_token = 0;  ///< rows.first is this one of the call's new tokens of the sequence
};

/// Everything a pass reads besides the weights. Row r of ids or embeds, positions and rows belongs together.
struct PassInput {
  std::span<const PassSequence> sequences;
  std::span<const int32_t> ids;        ///< [rows]; -1: the row comes from embeds
  const float* embeds = nullptr;       ///< host [rows, hidden_size], where ids are -1
  std::span<const int64_t> positions;  ///< [rows]
  ScanForm scan = ScanForm::recurrent;
};

/// Where the pass's outputs go; called in order while it runs, with device matrices that hold until the call returns.
struct PassOutputs {
  /// Hidden states of `stage` (0: embeddings, i: after layer i - 1, except the last), [rows, hidden_size].
  std::function<void(int64_t stage, const backend::Matrix& hidden)> hidden;
  /// Rotated queries of an attention layer (counted among attention layers), keys already in the pages.
  std::function<void(size_t attention_index, const backend::Matrix& queries)> queries;
  /// Activations and the weight they are about to be multiplied with.
  std::function<void(const backend::Matrix& in, const backend::LinearWeight& weight)> products;
};

/// Activations of a pass; grows to the largest pass seen and is then used again.
class Workspace {
 public:
  explicit Workspace(backend::Backend& device) : device_(device) {}

  enum Slot : size_t { hidden, normed, projected, mixed, convolved, keys, values, gate, up, kept, logits, slots };
  backend::Matrix matrix(Slot slot, int64_t rows, int64_t cols);

  // Host-side lists of a pass, kept for their memory.
  std::vector<backend::SequenceRows> rows;
  std::vector<float*> windows;
  std::vector<float*> states;
  std::vector<float* const*> pages;
  std::vector<float> rotary;
  std::vector<PassSequence> sequences;
  std::vector<int32_t> ids;
  std::vector<int64_t> positions;
  std::vector<float> embeds;
  std::vector<int64_t> kept_rows;
  std::vector<const SequenceState::Impl*> batch_states;

 private:
  backend::Backend& device_;
  backend::Buffer buffers_[slots];
};

/// Runs all layers; returns the last layer's output before the final norm, [rows, hidden_size], in the workspace.
/// Advances the states, their length too.
backend::Matrix run_layers(const BambaConfig& config, const ModelWeights& weights, const Rope& rope,
                           backend::Backend& device, Workspace& workspace, const PassInput& input,
                           const PassOutputs& outputs);

}  // namespace bamba
