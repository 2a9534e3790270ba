#include "quantize/layer_model.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

namespace bamba {
namespace {

/// The whole model's config but for the number of layers, and without a vocabulary to speak of.
BambaConfig config_of_layer(const BambaConfig& whole, int64_t layer) {
  BambaConfig config = whole;
  config.num_hidden_layers = 1;
  config.attn_layer_indices.clear();
  if (whole.layer_type(layer) == LayerType::attention) config.attn_layer_indices = {0};
  config.vocab_size = 1;
  config.tie_word_embeddings = true;
  return config;
}

}  // namespace

LayerModel::LayerModel(const BambaConfig& config, int64_t layer, const std::shared_ptr<backend::Backend>& device,
                       const TensorSource& source)
    : prefix_(layer_prefix(layer)) {
  const std::string own_prefix = layer_prefix(0);
  model_ = std::make_unique<BambaModel::Impl>(
      config_of_layer(config, layer), RunOptions{}, device, WeightFormat::f32, [&](const TensorSpec& spec) {
        if (!spec.name.starts_with(own_prefix)) return WeightTensor(Tensor::zeros(DType::f32, spec.shape));
        return source({prefix_ + spec.name.substr(own_prefix.size()), spec.shape, spec.role});
      });
}

void LayerModel::run(std::span<float> hidden, int64_t window, const ProductObserver& observer) {
  std::map<const backend::LinearWeight*, std::string> names;
  const std::string own_prefix = layer_prefix(0);
  for (const auto& [name, weight] : model_->weights.matrices) {
    if (name.starts_with(own_prefix)) names[weight] = prefix_ + name.substr(own_prefix.size());
  }
  PassOutputs outputs;
  if (observer) {
    outputs.products = [&](const backend::Matrix& in, const backend::LinearWeight& weight) {
      observer(names.at(&weight), in);
    };
  }
  const auto piece = static_cast<size_t>(window * model_->config.hidden_size);
  for (size_t first = 0; first < hidden.size(); first += piece) {
    run_sequence(hidden.subspan(first, std::min(piece, hidden.size() - first)), outputs);
  }
}

void LayerModel::run_sequence(std::span<float> hidden, const PassOutputs& outputs) {
  BambaModel::Impl& model = *model_;
  const int64_t rows = static_cast<int64_t>(hidden.size()) / model.config.hidden_size;
  SequenceState::Impl state(model.context);
  state.prepare(rows);
  const std::vector<PassSequence> sequences = {{&state, {0, rows, 0}, 0, 0}};
  const std::vector<int32_t> ids(static_cast<size_t>(rows), -1);
  std::vector<int64_t> positions(static_cast<size_t>(rows));
  std::iota(positions.begin(), positions.end(), int64_t{0});
  PassInput input;
  input.sequences = sequences;
  input.ids = ids;
  input.embeds = hidden.data();
  input.positions = positions;
  const backend::Matrix out =
      run_layers(model.config, model.weights, model.rope, *model.device, model.workspace, input, outputs);
  model.device->download_rows(out, hidden.data(), model.config.hidden_size);
}

}  // namespace bamba
