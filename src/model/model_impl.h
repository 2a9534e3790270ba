// The loaded model behind BambaModel and BambaForCausalLM.
#pragma once

#include <bamba/model.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "model/forward_pass.h"

namespace bamba {

/// A sequence of a batch with the choice of logits spelled out; what both public forwards come down to.
struct SequenceRequest {
  SequenceState::Impl* state = nullptr;
  int64_t tokens = 0;
  std::span<const int64_t> input_ids;     ///< [tokens], or empty with:
  const float* embeds = nullptr;          ///< [tokens, hidden_size]
  std::span<const int64_t> position_ids;  ///< [tokens], or empty
  LogitsToKeep logits = LogitsToKeep::last;
  std::span<const int64_t> kept;  ///< when not empty: these tokens of the call, rising, instead of `logits`
};

struct BambaModel::Impl {
  Impl(const BambaConfig& config_, const RunOptions& options_, std::shared_ptr<backend::Backend> device_,
       WeightFormat wanted, const TensorSource& source);

  /// The ragged forward. Inputs are checked first; from then on only memory can fail, and that is taken before the
  /// first pass.
  void forward(std::span<const SequenceRequest> requests, const RaggedOptions& options, RaggedOutput& output);

  BambaConfig config;
  RunOptions options;
  WeightFormat format;  ///< what most of the weights are held as
  ScanForm scan;
  int64_t pass_tokens;
  std::shared_ptr<backend::Backend> device;
  ModelWeights weights;
  Rope rope;
  std::shared_ptr<const StateContext> context;
  std::optional<std::string> generation_config;  ///< text of the folder's generation_config.json

  std::mutex mutex;  ///< one forward at a time
  Workspace workspace;
  bool warned_past_context = false;
};

/// Checks the arguments and turns them into a request; `index` names the sequence in messages.
SequenceRequest to_request(const SequenceInput& input, size_t index);

/// The backend that options.device names. Throws Error(unsupported | invalid_argument): before any weight is read.
std::shared_ptr<backend::Backend> make_backend(const RunOptions& options, const BambaConfig& config);

}  // namespace bamba
