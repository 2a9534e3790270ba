// One layer of a checkpoint as a model of its own: hidden states in, hidden states out.
#pragma once

#include <bamba/config.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "model/model_impl.h"
#include "model/weight_tensor.h"

namespace bamba {

/// Sees each product of a run: the tensor's name in the whole checkpoint, and the activations it is multiplied with.
using ProductObserver = std::function<void(const std::string& name, const backend::Matrix& in)>;

class LayerModel {
 public:
  /// Layer `layer` of a model of this config; `source` is asked for that layer's tensors only.
  LayerModel(const BambaConfig& config, int64_t layer, const std::shared_ptr<backend::Backend>& device,
             const TensorSource& source);

  /// Runs sequences of `window` rows (the last one may be shorter), each from its start. hidden: host
  /// [rows, hidden_size], replaced by the layer's output.
  void run(std::span<float> hidden, int64_t window, const ProductObserver& observer);

 private:
  void run_sequence(std::span<float> hidden, const PassOutputs& outputs);

  std::string prefix_;
  std::unique_ptr<BambaModel::Impl> model_;
};

}  // namespace bamba
