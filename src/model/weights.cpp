#include "model/weights.h"

#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/str.h"
#include "model/device_room.h"
#include "model/format_table.h"
#include "model/transpose.h"

namespace bamba {
namespace {

using backend::Backend;
using backend::Buffer;
using backend::LinearWeight;

/// "model.layers.3.mamba.in_proj.weight": "mamba.in_proj". The layers' weights of one kind share a label.
std::string label_of(std::string_view name) {
  constexpr std::string_view kModel = "model.";
  constexpr std::string_view kLayers = "layers.";
  constexpr std::string_view kWeight = ".weight";
  if (name.starts_with(kModel)) name.remove_prefix(kModel.size());
  if (name.starts_with(kLayers)) name.remove_prefix(name.find('.', kLayers.size()) + 1);
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  return std::string(name);
}

/// Where each matrix and each vector of the checkpoint goes: filled from the specs, looked up by name.
class Builder {
 public:
  Builder(const BambaConfig& config, Backend& backend) : config_(config), backend_(backend) {
    weights_.layers.resize(static_cast<size_t>(config.num_hidden_layers));
    matrices_[kEmbeddingName] = &weights_.embedding;
    matrices_[kHeadName] = &weights_.lm_head;
    vectors_[kFinalNormName] = &weights_.final_norm;
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      place_layer(layer_prefix(layer), config.layer_type(layer), weights_.layers[static_cast<size_t>(layer)]);
    }
  }

  void take(const TensorSpec& spec, WeightTensor source, WeightFormat wanted) {
    const WeightFormat format = source.format.value_or(wanted);
    const Tensor& tensor = source.tensor;
    if (spec.is_matrix()) {
      // A tied embedding is multiplied with as well, so it gets the layout for that.
      const bool lookup_only = spec.role == TensorRole::embedding && !config_.tie_word_embeddings;
      auto& place = *matrices_.at(spec.name);
      if (source.packed) {
        place = std::move(source.packed);
      } else {
        place = lookup_only ? backend_.pack_embedding(tensor, format) : backend_.pack_linear(tensor, format);
      }
      place->set_label(label_of(spec.name));
      weights_.matrices[spec.name] = place.get();
      return;
    }
    const Tensor values = tensor.to(DType::f32);
    weights_.vectors[spec.name] = values;
    *vectors_.at(spec.name) = upload(spec, values);
  }

  ModelWeights finish() { return std::move(weights_); }

 private:
  void place_linear(const std::string& module, LinearLayer& layer) {
    matrices_[module + ".weight"] = &layer.weight;
    vectors_[module + ".bias"] = &layer.bias;
  }

  void place_layer(const std::string& prefix, LayerType type, LayerWeights& layer) {
    vectors_[prefix + "input_layernorm.weight"] = &layer.input_norm;
    vectors_[prefix + "pre_ff_layernorm.weight"] = &layer.pre_ff_norm;
    place_linear(prefix + "feed_forward.gate_proj", layer.mlp.gate_proj);
    place_linear(prefix + "feed_forward.up_proj", layer.mlp.up_proj);
    place_linear(prefix + "feed_forward.down_proj", layer.mlp.down_proj);
    if (type == LayerType::mamba) {
      layer.mamba = std::make_unique<MambaWeights>();
      MambaWeights& mamba = *layer.mamba;
      place_linear(prefix + "mamba.in_proj", mamba.in_proj);
      place_linear(prefix + "mamba.out_proj", mamba.out_proj);
      vectors_[prefix + "mamba.conv1d.weight"] = &mamba.conv;
      vectors_[prefix + "mamba.conv1d.bias"] = &mamba.conv_bias;
      vectors_[prefix + "mamba.A_log"] = &mamba.a;
      vectors_[prefix + "mamba.D"] = &mamba.d;
      vectors_[prefix + "mamba.dt_bias"] = &mamba.dt_bias;
      vectors_[prefix + "mamba.norm.weight"] = &mamba.norm;
    } else {
      layer.attention = std::make_unique<AttentionWeights>();
      place_linear(prefix + "self_attn.q_proj", layer.attention->q_proj);
      place_linear(prefix + "self_attn.k_proj", layer.attention->k_proj);
      place_linear(prefix + "self_attn.v_proj", layer.attention->v_proj);
      place_linear(prefix + "self_attn.o_proj", layer.attention->o_proj);
    }
  }

  Buffer upload(const TensorSpec& spec, const Tensor& values) {
    const auto data = values.data<float>();
    if (spec.role == TensorRole::a_log) {
      std::vector<float> a;
      for (const float value : data) a.push_back(-std::exp(value));
      return backend_.upload_vector(a);
    }
    if (spec.role == TensorRole::conv_weight) {
      std::vector<float> transposed(data.size());
      transpose(data.data(), spec.shape[0], spec.shape[2], transposed.data());
      return backend_.upload_vector(transposed);
    }
    return backend_.upload_vector(data);
  }

  const BambaConfig& config_;
  Backend& backend_;
  ModelWeights weights_;
  std::map<std::string, std::unique_ptr<LinearWeight>*, std::less<>> matrices_;
  std::map<std::string, Buffer*, std::less<>> vectors_;
};

}  // namespace

DType storage_type(WeightFormat format) {
  switch (format) {
    case WeightFormat::f32:
      return DType::f32;
    case WeightFormat::bf16:
      return DType::bf16;
    case WeightFormat::f16:
      return DType::f16;
    case WeightFormat::fp8:
    case WeightFormat::q8:
    case WeightFormat::q4:
      return DType::bf16;
  }
  return DType::f32;
}

ModelWeights build_weights(const BambaConfig& config, WeightFormat format, Backend& backend,
                           const TensorSource& source) {
  // A quantized checkpoint may hold some matrices in a smaller format than the rest.
  if (!is_quantized(format)) check_device_room(config, format, backend, backend.memory());
  Builder builder(config, backend);
  try {
    for (const TensorSpec& spec : tensor_specs(config)) {
      builder.take(spec, source(spec), tensor_format(spec, format));
    }
  } catch (const Error& error) {
    const size_t capacity = backend.memory().capacity;
    if (error.code() != ErrorCode::out_of_memory || capacity == 0) throw;
    fail(error.code(), error.what(), "; ", device_room_text(config, format, backend, capacity));
  }
  return builder.finish();
}

size_t ModelWeights::bytes() const {
  size_t total = 0;
  for (const auto& [name, matrix] : matrices) total += matrix->bytes();
  for (const auto& [name, vector] : vectors) total += vector.nbytes();
  return total;
}

}  // namespace bamba
